#include "checkpoint/packed_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"

namespace fathom {
namespace {

Tensor logits_of(Decoder& model) {
  Batch batch;
  batch.add(std::vector<int32_t>{1, 5, 9, 2, 7, 3, 11});
  return model.logits(model.forward(batch, nullptr));
}
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

class PackedCache : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_directory(models_folder() + "/qwen2-tiny")) GTEST_SKIP() << "no fixtures at " << models_folder();
    set_num_threads(2);
    copy("qwen2-tiny");
  }
  void copy(const std::string& name) {
    make_directories(folder_ / "model");
    for (const std::string& file : list_directory(models_folder() + "/" + name))
      if (file.ends_with(".safetensors") || file == "config.json")
        write_file_atomic(folder_ / "model/" + file, read_file(models_folder() + "/" + name + "/" + file));
  }
  std::string cache() const { return folder_ / "weights.packed"; }
  // Loads with the cache; what stderr said, and whether the file was written again.
  struct Loaded {
    Tensor logits;
    std::string said;
    bool written = false;
  };
  Loaded load(const Numerics& numerics, const std::string& path) {
    const auto inode = [&] {
      struct stat info {};
      return ::stat(path.c_str(), &info) == 0 ? info.st_ino : ino_t{0};
    };
    // Held open, so that its inode is not given to the next one.
    const int held = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const ino_t before = inode();
    testing::internal::CaptureStderr();
    Decoder model = load_model(folder_ / "model", numerics, /*training=*/false, nullptr, path);
    Loaded loaded;
    loaded.said = testing::internal::GetCapturedStderr();
    loaded.logits = logits_of(model);
    loaded.written = inode() != before;
    if (held >= 0) ::close(held);
    return loaded;
  }
  // Refused for `reason`, written anew, and used then; the bits never change.
  void expect_rebuilt(const Numerics& numerics, const std::string& reason, const Tensor& expected) {
    const Loaded again = load(numerics, cache());
    EXPECT_NE(again.said.find(reason), std::string::npos) << again.said;
    EXPECT_NE(again.said.find(cache()), std::string::npos) << again.said;
    EXPECT_TRUE(again.written);
    EXPECT_TRUE(same_bits(again.logits, expected));
    const Loaded used = load(numerics, cache());
    EXPECT_EQ(used.said, "");
    EXPECT_FALSE(used.written);
    EXPECT_TRUE(same_bits(used.logits, expected));
  }
  TestFolder folder_;
};

// Without a cache, when it is written, and out of it: every model kind, both compute types and formulas, a quantised one.
TEST_F(PackedCache, ChangesNoBit) {
  int models_tested = 0;
  for (const std::string& name : list_directory(models_folder())) {
    if (!file_exists(models_folder() + "/" + name + "/model.safetensors")) continue;
    remove_tree(folder_ / "model");
    copy(name);
    ++models_tested;
    const Numerics kinds[] = {{.compute = Compute::kF32},
                              {.compute = Compute::kBF16, .mla = MlaFormula::kAbsorbed},
                              {.compute = Compute::kBF16, .weights = WeightFormat::kInt8Row}};
    for (const Numerics& numerics : kinds) {
      SCOPED_TRACE(name + " " + numerics.identity());
      Decoder plain = load_model(folder_ / "model", numerics, false);
      const Tensor expected = logits_of(plain);
      make_directories(folder_ / "kept");
      const std::string path = packed_cache_path(folder_ / "kept", folder_ / "model", numerics);
      EXPECT_TRUE(path.starts_with(folder_ / "kept/model.")) << path;
      const Loaded first = load(numerics, path), second = load(numerics, path);
      EXPECT_TRUE(first.written);
      EXPECT_FALSE(second.written);
      EXPECT_EQ(second.said, "");
      EXPECT_TRUE(same_bits(first.logits, expected));
      EXPECT_TRUE(same_bits(second.logits, expected));
      remove_tree(folder_ / "kept");
    }
  }
  EXPECT_GT(models_tested, 1);
}

TEST_F(PackedCache, StaleOnesAreWrittenAnew) {
  Numerics numerics;
  numerics.compute = Compute::kBF16;
  const Tensor before = load(numerics, cache()).logits;
  Numerics f32;
  expect_rebuilt(f32, "is stale: packed for", load(f32, folder_ / "other.packed").logits);
  expect_rebuilt(numerics, "is stale: packed for", before);

  // Another weight: one value, same size, and the same time of change.
  const std::string weights = folder_ / "model/model.safetensors";
  struct stat info {};
  ASSERT_EQ(::stat(weights.c_str(), &info), 0);
  std::string bytes = read_file(weights);
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 1);
  write_file_atomic(weights, bytes);
  const timespec times[2] = {info.st_atim, info.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, weights.c_str(), times, 0), 0);
  Decoder changed = load_model(folder_ / "model", numerics, false);
  expect_rebuilt(numerics, "is stale: the model's files have changed", logits_of(changed));
  // Only the time.
  const timespec later[2] = {info.st_atim, {info.st_mtim.tv_sec + 1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, weights.c_str(), later, 0), 0);
  expect_rebuilt(numerics, "is stale: the model's files have changed", logits_of(changed));
}

// Cut at any place, or with any byte changed: refused by name, or (in what only fills up) as good as before; never wrong bits.
TEST_F(PackedCache, TruncatedAndCorruptOnesAreWrittenAnew) {
  Numerics numerics;
  numerics.compute = Compute::kBF16;
  const Tensor expected = load(numerics, cache()).logits;
  const std::string whole = read_file(cache());
  for (const size_t size :
       {size_t{0}, size_t{7}, size_t{23}, size_t{24}, size_t{500}, size_t{4096}, whole.size() / 2, whole.size() - 1}) {
    SCOPED_TRACE(size);
    write_file_atomic(cache(), std::string_view(whole).substr(0, size));
    expect_rebuilt(numerics, "is truncated", expected);
  }
  write_file_atomic(cache(), whole + '\0');
  expect_rebuilt(numerics, "is truncated", expected);
  const auto changed = [&](size_t at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    write_file_atomic(cache(), bytes);
  };
  changed(0);
  expect_rebuilt(numerics, "is corrupt: it does not begin", expected);
  changed(8);
  expect_rebuilt(numerics, "is stale: its version is " + std::to_string(kPackedCacheVersion + 16), expected);
  for (const size_t at : {size_t{12}, size_t{24}, size_t{300}}) {
    changed(at);
    expect_rebuilt(numerics, "is corrupt: its header's checksum is wrong", expected);
  }
  int refused = 0;
  for (size_t at = 8192; at < whole.size(); at += whole.size() / 40 + 1) {
    changed(at);
    const Loaded again = load(numerics, cache());
    refused += again.said.find("is corrupt: the checksum of weight") != std::string::npos;
    EXPECT_TRUE(same_bits(again.logits, expected));
  }
  EXPECT_GT(refused, 30);
}

TEST_F(PackedCache, OneThatCannotBeWrittenIsAWarning) {
  Decoder plain = load_model(folder_ / "model", Numerics{}, false);
  const Loaded loaded = load(Numerics{}, folder_ / "none/weights.packed");
  EXPECT_NE(loaded.said.find("the packed weights are not kept"), std::string::npos) << loaded.said;
  EXPECT_TRUE(same_bits(loaded.logits, logits_of(plain)));
}

#ifndef FATHOM_SANITIZED  // TSan does not follow threads into a forked child
// Several processes that find none: each writes it whole, one after the other stands there, and all have the same bits.
TEST_F(PackedCache, SeveralProcessesAtOnce) {
  Numerics numerics;
  numerics.compute = Compute::kBF16;
  Decoder plain = load_model(folder_ / "model", numerics, false);
  const Tensor expected = logits_of(plain);
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool same = true;
      for (int round = 0; round < 5; ++round) {
        if (round == 2) ::unlink(cache().c_str());
        Decoder model = load_model(folder_ / "model", numerics, false, nullptr, cache());
        same &= same_bits(logits_of(model), expected);
      }
      ::_exit(same ? 0 : 1);
    }
    ASSERT_GT(child, 0);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_TRUE(WIFEXITED(status));
  }
  EXPECT_EQ(load(numerics, cache()).said, "");
  EXPECT_EQ(list_directory(folder_.path()), (std::vector<std::string>{"model", "weights.packed"}));
}
#endif

}  // namespace
}  // namespace fathom
