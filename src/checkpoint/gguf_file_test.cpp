#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/gguf_testing.h"
#include "checkpoint/safetensors.h"
#include "tensor/format/dequantize.h"

namespace fathom {
namespace {

std::string refusal(const GgufBytes& bytes) {
  try {
    bytes.parse();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}
void expect_refused(const GgufBytes& bytes, const std::string& part) {
  const std::string message = refusal(bytes);
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

GgufBytes good(uint32_t version = 3) {
  GgufBytes b;
  b.header(2, 2, version).text("a.name").number<uint32_t>(8).text("x").text("a.list").number<uint32_t>(9);
  b.number<uint32_t>(5).number<uint64_t>(3).number<int32_t>(-1).number<int32_t>(2).number<int32_t>(3);
  b.tensor("one", {4, 2}, 0, 0).tensor("two", {32}, 8, 32).align();
  for (int i = 0; i < 8; ++i) b.number<float>(static_cast<float>(i));
  return b.raw(std::string(34, '\1'));
}

TEST(GgufFile, ReadsVersions2And3) {
  for (const uint32_t version : {2u, 3u}) {
    const GgufBytes bytes = good(version);
    const GgufFile file = bytes.parse();
    EXPECT_EQ(file.version(), version);
    ASSERT_EQ(file.entries().size(), 2u);
    EXPECT_EQ(file.entries()[0].shape, (std::vector<int64_t>{2, 4}));
    EXPECT_EQ(file.text("a.name"), "x");
    EXPECT_EQ(file.integers("a.list"), (std::vector<int64_t>{-1, 2, 3}));
    EXPECT_FALSE(file.text("none"));
    float value = 0;
    std::memcpy(&value, file.data(file.entries()[0]) + 20, 4);
    EXPECT_EQ(value, 5.f);
    EXPECT_THROW(file.integer("a.name"), Error);
  }
}

TEST(GgufFile, RefusesByField) {
  expect_refused(GgufBytes().raw("GGUX"), "magic");
  expect_refused(GgufBytes().header(0, 0, 1), "version");
  expect_refused(GgufBytes().header(0, 0, 0x03000000), "version");
  expect_refused(GgufBytes().header(1, 0), "tensor_count");
  expect_refused(GgufBytes().header(0, uint64_t{1} << 63), "metadata_kv_count");
  expect_refused(GgufBytes().header(0, 1).text("").number<uint32_t>(0).raw(std::string(9, '\0')), "key");
  expect_refused(GgufBytes().header(0, 1).text("k").number<uint32_t>(13).number<uint64_t>(0), "type: 13");
  expect_refused(GgufBytes().header(0, 1).text("k").number<uint32_t>(7).number<uint8_t>(2).raw("xxxxxxxx"), "bool");
  expect_refused(
      GgufBytes().header(0, 2).text("k").number<uint32_t>(0).number<uint8_t>(2).text("k").number<uint32_t>(0).number<uint8_t>(
          2),
      "twice");
  expect_refused(GgufBytes().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0), "n_dims");
  expect_refused(GgufBytes().header(1, 0).tensor("t", {0}, 0, 0), "dims");
  expect_refused(GgufBytes().header(1, 0).tensor("t", {4}, 4, 0), "type");  // Q4_2, withdrawn
  expect_refused(GgufBytes().header(1, 0).tensor("t", {4}, 0, 7).align(), "alignment");
  expect_refused(GgufBytes().header(1, 0).tensor("t", {40}, 8, 0).align(), "whole blocks");
  expect_refused(GgufBytes().header(1, 0).tensor("t", {4}, 0, 0).align().raw("12345678"), "offset");
}

// Every cut of a good file is refused; and no byte flipped breaks the reader.
TEST(GgufFile, CutsAndFlips) {
  const std::string whole = good().bytes();
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_NE(refusal(GgufBytes().raw(whole.substr(0, n))), "accepted") << n << " bytes";
  std::mt19937 engine(1);
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = whole;
    for (int k = 0; k <= i % 3; ++k) bytes[engine() % bytes.size()] = static_cast<char>(engine());
    refusal(GgufBytes().raw(bytes));
  }
}

// --- fixtures

TEST(GgufFixture, QuantisedTensorsAreTheReferences) {
  const std::string folder = fixtures_folder() + "/gguf/";
  if (!file_exists(folder + "quants.gguf")) GTEST_SKIP() << "no fixtures at " << folder;
  const GgufFile file = GgufFile::open(folder + "quants.gguf");
  const SafetensorsFile expected = SafetensorsFile::open(folder + "quants.safetensors");
  ASSERT_GE(file.entries().size(), 20u);
  for (const auto& entry : file.entries()) {
    const auto* want = expected.find(entry.name);
    ASSERT_NE(want, nullptr) << entry.name;
    const Tensor reference = expected.tensor(*want);
    std::vector<float> values(static_cast<size_t>(entry.elements()));
    for (int64_t r = 0; r < entry.rows(); ++r)
      dequantize_row(entry.type, file.data(entry) + r * entry.row_bytes(), entry.row_size(),
                     values.data() + r * entry.row_size());
    ASSERT_EQ(reference.numel(), static_cast<int64_t>(values.size()));
    int64_t differ = 0;
    for (size_t i = 0; i < values.size(); ++i) differ += std::memcmp(&values[i], reference.data<float>() + i, 4) != 0;
    EXPECT_EQ(differ, 0) << entry.name << " of type " << ggml_type_info(entry.type).name;
  }
}

TEST(GgufFixture, MetadataOfEveryType) {
  const std::string path = fixtures_folder() + "/gguf/quants.gguf";
  if (!file_exists(path)) GTEST_SKIP() << "no fixtures at " << path;
  const GgufFile file = GgufFile::open(path);
  EXPECT_EQ(file.integer("fixture.u8"), 200);
  EXPECT_EQ(file.integer("fixture.i8"), -100);
  EXPECT_EQ(file.integer("fixture.i16"), -30000);
  EXPECT_EQ(file.integer("fixture.u32"), 4000000000);
  EXPECT_EQ(file.integer("fixture.i64"), -4611686018427387904);
  EXPECT_EQ(file.value("fixture.u64")->integer, 9223372036854775813u);
  EXPECT_THROW(file.integer("fixture.u64"), Error);
  EXPECT_EQ(file.number("fixture.f32"), 1.5);
  EXPECT_EQ(file.number("fixture.f64"), 1e-300);
  EXPECT_EQ(file.boolean("fixture.bool"), true);
  EXPECT_EQ(file.text("fixture.string"), std::string("žluťoučký 🐎\n\0x", 21));
  const auto strings = file.texts("fixture.strings");
  ASSERT_EQ(strings->size(), 4u);
  EXPECT_EQ((*strings)[2], "二");
  EXPECT_EQ(file.integers("fixture.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file.value("fixture.nested")->element_kind, GgufKind::kArray);
}

TEST(GgufFixture, MalformedFilesAreRefused) {
  const std::string folder = fixtures_folder() + "/malformed/";
  if (!file_exists(folder + "manifest.json")) GTEST_SKIP() << "no fixtures at " << folder;
  int checked = 0;
  const Json manifest = read_json_file(folder + "manifest.json");
  for (const Json& item : manifest["files"]) {
    const std::string name = item["file"].text();
    if (name.find(".gguf") == std::string::npos) continue;
    ++checked;
    try {
      GgufFile::open(folder + name);
      EXPECT_EQ(item["expect"]["outcome"], "may_accept") << name << " was accepted: " << item["wrong"];
    } catch (const Error& e) {
      EXPECT_EQ(static_cast<int>(e.kind()), 2) << name;
    }
  }
  EXPECT_GE(checked, 20);
}

}  // namespace
}  // namespace fathom
