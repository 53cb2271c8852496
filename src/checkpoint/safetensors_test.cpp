#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>

#include "base/json.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "tensor/format/bf16.h"

namespace fathom {
namespace {

Tensor random_tensor(Shape shape, DType dtype, uint64_t seed) {
  Tensor t = Tensor::empty(shape, dtype);
  Rng rng(seed, RngStream::kTest);
  for (int64_t i = 0; i < t.bytes(); ++i) t.raw()[i] = static_cast<std::byte>(rng.next_below(256));
  return t;
}
std::vector<SafetensorsItem> sample_items() {
  return {{"b", random_tensor({3, 5}, DType::kBF16, 1), DType::kBF16},
          {"a.weight", random_tensor({4, 4}, DType::kF32, 2), DType::kF32},
          {"scalar", random_tensor({}, DType::kI64, 3), DType::kI64},
          {"empty", Tensor::zeros({0, 7}, DType::kF32), DType::kF32},
          {"bytes", random_tensor({3}, DType::kU8, 4), DType::kU8},
          {"\xc3\xa9 \"q\"\n", random_tensor({1}, DType::kI32, 5), DType::kI32}};
}

TEST(Safetensors, RoundTripIsByteIdentical) {
  TestFolder folder;
  const auto items = sample_items();
  const uint32_t crc = write_safetensors(folder / "a", items, {{"format", "pt"}, {"note", "x\ty"}});
  EXPECT_EQ(crc, crc32_of_file(folder / "a"));
  const SafetensorsFile file = SafetensorsFile::open(folder / "a");
  EXPECT_EQ(file.metadata().at("note"), "x\ty");
  ASSERT_EQ(file.entries().size(), items.size());
  for (const auto& item : items) {
    const auto* entry = file.find(item.name);
    ASSERT_TRUE(entry);
    const Tensor t = file.tensor(*entry);
    EXPECT_EQ(t.dtype(), item.dtype);
    EXPECT_TRUE(t.shape() == item.tensor.shape());
    EXPECT_EQ(std::memcmp(t.raw(), item.tensor.raw(), t.bytes()), 0) << item.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % dtype_bytes(t.dtype()), 0u);
  }
  EXPECT_EQ(file.find("nothing"), nullptr);
  std::vector<SafetensorsItem> again;
  for (const auto& entry : file.entries()) again.push_back({entry.name, file.tensor(entry), entry.dtype});
  write_safetensors(folder / "b", again, file.metadata());
  EXPECT_EQ(read_file(folder / "a"), read_file(folder / "b"));
}

TEST(Safetensors, WritesStridedAndConvertedTensors) {
  TestFolder folder;
  Tensor wide = Tensor::empty({3, 6}, DType::kF32);
  for (int64_t i = 0; i < wide.numel(); ++i) wide.data<float>()[i] = 0.37f * static_cast<float>(i) - 2;
  const Tensor part = wide.slice_columns(2, 5);
  write_safetensors(folder / "a",
                    {{"f", part, DType::kF32}, {"h", part, DType::kBF16}, {"back", part.to(DType::kBF16), DType::kF32}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "a");
  const Tensor f = file.tensor(*file.find("f")), h = file.tensor(*file.find("h")), back = file.tensor(*file.find("back"));
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 3; ++j) {
      EXPECT_EQ(f.row<float>(i)[j], part.row<float>(i)[j]);
      EXPECT_EQ(to_float(h.row<bf16>(i)[j]), to_float(to_bf16(part.row<float>(i)[j])));
      EXPECT_EQ(back.row<float>(i)[j], to_float(to_bf16(part.row<float>(i)[j])));
    }
}

TEST(Safetensors, UnalignedDataIsCopied) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";  // 55 bytes: the data is not aligned
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  const float value = 1.5f;
  bytes += header + std::string(reinterpret_cast<const char*>(&value), 4);
  const auto file = SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "memory");
  EXPECT_EQ(file.tensor(file.entries()[0]).data<float>()[0], 1.5f);
}

TEST(Safetensors, FilesThatLieAreRefused) {
  const std::string folder = fixtures_folder() + "/malformed";
  if (!file_exists(folder + "/manifest.json")) GTEST_SKIP() << "no fixtures at " << folder;
  const Json manifest = read_json_file(folder + "/manifest.json");
  int refused = 0;
  for (const auto& item : manifest["files"]) {
    const std::string name = item["file"].text();
    if (name.size() < 12 || name.substr(name.size() - 12) != ".safetensors") continue;
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const double start = now_seconds();
    const std::string error = error_of([&] { SafetensorsFile::open(folder + "/" + name); });
    EXPECT_LT(now_seconds() - start, 1.0) << name;
    getrusage(RUSAGE_SELF, &after);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10) << name << ": KiB of memory";
    if (item["expect"]["outcome"] != "error") continue;
    ++refused;
    EXPECT_NE(error, "") << name << ": " << item["wrong"];
    EXPECT_NE(error.find(name), std::string::npos) << error;
    std::printf("%-44s %s\n", name.c_str(), error.substr(error.find(name) + name.size()).c_str());
  }
  EXPECT_GE(refused, 20);
}

std::string refused(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  bytes += header + std::string(data_bytes, 'x');
  return error_of([&] { SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "memory"); });
}

TEST(Safetensors, RefusalsNameTheField) {
  const auto expect = [](const std::string& header, const std::string& field, size_t data_bytes = 64) {
    EXPECT_NE(refused(header, data_bytes).find(field), std::string::npos) << header << "\n-> " << refused(header, data_bytes);
  };
  EXPECT_EQ(refused(R"({})", 0), "");
  EXPECT_EQ(refused(R"({"a":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}})", 64), "");
  expect(R"({"a":{"dtype":"F32","shape":[0,8589934592,8589934592],"data_offsets":[0,0]}})", "'a', shape", 0);
  expect(R"({"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,64]}})", "'a', shape");
  expect(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,16],"data_offsets":[0,64]}})", "'a', shape");
  expect(R"({"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64,64]}})", "'a', data_offsets");
  expect(R"({"a":{"dtype":"F32","shape":[16],"data_offsets":["0",64]}})", "'a', data_offsets");
  expect(R"({"a":{"dtype":"F32","shape":"16","data_offsets":[0,64]}})", "'a', shape");
  expect(R"({"a":{"dtype":"F32","shape":[16]}})", "data_offsets");
  expect(R"({"a":[1,2]})", "'a'");
  expect(R"({"__metadata__":{"k":1}})", "__metadata__, 'k'", 0);
  expect(R"({"__metadata__":"x"})", "__metadata__", 0);
  expect(R"({"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]},"z":{"dtype":"U8","shape":[32],"data_offsets":[32,64]}})",
         "'z', data_offsets");
  expect(" {}", "header", 0);
  expect("", "header", 0);
}

TEST(Safetensors, MutationsNeverCrash) {
  TestFolder folder;
  write_safetensors(folder / "valid", sample_items(), {{"format", "pt"}});
  const std::string valid = read_file(folder / "valid");
  Rng rng(11, RngStream::kTest);
  int opened = 0;
  int64_t sum = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string bytes = valid;
    for (uint64_t edits = 1 + rng.next_below(3); edits > 0 && !bytes.empty(); --edits) {
      const size_t at = rng.next_below(bytes.size());
      switch (rng.next_below(5)) {
        case 0:
          bytes[at] = static_cast<char>(rng.next_below(256));
          break;
        case 1:
          bytes[at] = "0123456789[]{},\":"[rng.next_below(17)];
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.insert(at, bytes.substr(rng.next_below(bytes.size()), rng.next_below(40)));
          break;
        default:
          bytes[rng.next_below(std::min<size_t>(8, bytes.size()))] = static_cast<char>(rng.next_below(256));
      }
    }
    try {
      const auto file = SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "mutated");
      ++opened;
      for (const auto& entry : file.entries())
        if (entry.shape.size() <= 4) {
          const Tensor t = file.tensor(entry);
          for (int64_t b = 0; b < t.bytes(); ++b) sum += static_cast<int64_t>(t.raw()[b]);  // every byte is really there
        }
    } catch (const Error&) {
    }
  }
  EXPECT_GT(opened, 50);
  EXPECT_GT(sum, 0);
}

// --- shards

void write_sharded(const TestFolder& folder, const std::string& index) {
  const auto items = sample_items();
  write_safetensors(folder / "model-1.safetensors", {items[0], items[1]});
  write_safetensors(folder / "model-2.safetensors", {items[2]});
  write_file_atomic(folder / "model.safetensors.index.json", index);
}

TEST(SafetensorsDirectory, ReadsShardsAndRefusesALyingIndex) {
  TestFolder folder;
  const auto with = [&](const std::string& map) {
    write_sharded(folder, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": " + map + "}");
    return error_of([&] { EXPECT_EQ(SafetensorsDirectory::open(folder.path()).tensors().size(), 3u); });
  };
  EXPECT_EQ(with(R"({"a.weight": "model-1.safetensors", "b": "model-1.safetensors", "scalar": "model-2.safetensors"})"), "");
  const auto expect = [&](const std::string& map, const std::string& part) {
    EXPECT_NE(with(map).find(part), std::string::npos) << map << "\n-> " << with(map);
  };
  expect(R"({"a.weight": "model-1.safetensors", "b": "model-2.safetensors", "scalar": "model-2.safetensors"})",
         "'b': no such tensor in 'model-2");
  expect(R"({"a.weight": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"})",
         "'c': no such tensor");
  expect(R"({"a.weight": "model-1.safetensors", "scalar": "model-2.safetensors"})", "leaves out 'b'");
  expect(R"({"a.weight": "model-1.safetensors", "b": "model-3.safetensors"})", "the shard 'model-3.safetensors' is missing");
  expect(R"({"a.weight": "../model-1.safetensors"})", "no plain file name");
  expect(R"({"a.weight": "/etc/passwd"})", "no plain file name");
  expect(R"({"a.weight": 7})", "is no file name");
  expect(R"([])", "weight_map");
  expect(R"({"a.weight": "model-1.safetensors", "a.weight": "model-1.safetensors"})", "occurs twice");
  write_safetensors(folder / "model-2.safetensors", {sample_items()[0]});
  EXPECT_NE(error_of([&] { SafetensorsDirectory::open(folder.path()); }), "");
  TestFolder empty;
  EXPECT_NE(error_of([&] { SafetensorsDirectory::open(empty.path()); }).find("neither model.safetensors nor"),
            std::string::npos);
  EXPECT_NE(error_of([&] { SafetensorsDirectory::open(empty / "none"); }).find("is no folder"), std::string::npos);
}

TEST(SafetensorsDirectory, OpensEveryModelFixture) {
  const std::string folder = models_folder();
  if (!is_directory(folder)) GTEST_SKIP() << "no fixtures at " << folder;
  int models = 0;
  for (const auto& name : list_directory(folder)) {
    if (!file_exists(folder + "/" + name + "/config.json")) continue;
    EXPECT_GT(SafetensorsDirectory::open(folder + "/" + name).tensors().size(), 10u) << name;
    ++models;
  }
  EXPECT_GT(models, 0);
}

}  // namespace
}  // namespace fathom
