// What a request gives does not depend on the prefix store: not on a hit, a miss, a damaged file or a full disk.
#include "infer/prefix_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "base/thread_pool.h"
#include "infer/engine_testing.h"

namespace fathom {
namespace {

class PrefixStoreTest : public testing::Test {
 protected:
  PrefixStoreTest() {
    set_num_threads(1);
    std::string name = testing::TempDir() + "prefix_store_XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~PrefixStoreTest() override { std::filesystem::remove_all(folder_); }

  EngineConfig config(int64_t max_bytes = int64_t{1} << 30) const {
    EngineConfig config;
    config.cache_blocks = 32;
    config.prefix_store.directory = folder_;
    config.prefix_store.identity = "tiny";
    config.prefix_store.max_bytes = max_bytes;
    return config;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> paths;
    for (const std::string& name : list_directory(folder_)) paths.push_back(folder_ + "/" + name);
    return paths;
  }
  std::string folder_;
};

Request request_of(int64_t n, uint64_t stream) {
  Request r;
  Rng rng(5, RngStream::kTest, stream);
  for (int64_t i = 0; i < n; ++i) r.prompt.push_back(static_cast<int32_t>(rng.next_below(131)));
  r.max_tokens = 12;
  r.sequence = stream;
  return r;
}

Decoder model_of(KvType cache = KvType::kPlain) {
  Numerics numerics{Compute::kBF16, MlaFormula::kAbsorbed};
  numerics.cache = cache;
  return packed_model(tiny_deepseek(), numerics);
}

struct Outcome {
  Completion completion;
  EngineStats stats;
};
Outcome ask(Decoder& model, const EngineConfig& config, const Request& request) {
  Engine engine(model, config);
  Outcome outcome;
  outcome.completion = engine.generate({request})[0];
  outcome.stats = engine.stats();
  EXPECT_EQ(engine.num_used_blocks(), 0);
  return outcome;
}

TEST_F(PrefixStoreTest, AHitInAnotherEngineGivesTheBitsOfAMiss) {
  for (const KvType type : {KvType::kPlain, KvType::kInt8, KvType::kFp8}) {
    std::filesystem::remove_all(folder_);  // it is made again
    Decoder model = model_of(type);
    for (const int64_t n : {1, 63, 64, 65, 200, 256}) {
      const Request request = request_of(n, static_cast<uint64_t>(n));
      const Completion expected = alone(model, request);
      const Outcome miss = ask(model, config(), request), hit = ask(model, config(), request);
      expect_same(miss.completion, expected);
      expect_same(hit.completion, expected);
      EXPECT_EQ(miss.stats.stored_hit_rows, 0);
      EXPECT_EQ(hit.stats.stored_hit_rows, (n - 1) / 64 * 64);
      EXPECT_EQ(hit.stats.prefill_rows, n - (n - 1) / 64 * 64);
    }
    EXPECT_EQ(files().size(), 1u + 1 + 3 + 4);  // of the prompts of 64, 65, 200 and 256
  }
}

TEST_F(PrefixStoreTest, APromptGoesOnBehindWhatIsKept) {
  Decoder model = model_of();
  const Request request = request_of(150, 1);
  ask(model, config(), request);
  Request longer = request, other = request;
  longer.prompt.resize(140);
  for (int i = 0; i < 90; ++i) longer.prompt.push_back(i);
  other.prompt[70] ^= 1;
  const Outcome more = ask(model, config(), longer), less = ask(model, config(), other);
  EXPECT_EQ(more.stats.stored_hit_rows, 128);
  EXPECT_EQ(less.stats.stored_hit_rows, 64);
  expect_same(more.completion, alone(model, longer));
  expect_same(less.completion, alone(model, other));
  // Many at once, with what the tree holds already, in a cache that is too small for all.
  EngineConfig small = config();
  small.cache_blocks = 9;
  const std::vector<Request> all = {request, longer, other, longer, request_of(90, 7)};
  Engine engine(model, small);
  const std::vector<Completion> completions = engine.generate(all);
  for (size_t i = 0; i < all.size(); ++i) expect_same(completions[i], alone(model, all[i]));
  EXPECT_GT(engine.stats().stored_hit_rows, 0);
  EXPECT_EQ(engine.num_used_blocks(), 0);
}

TEST_F(PrefixStoreTest, AnotherModelNumericsOrSaltFindsNothing) {
  Decoder model = model_of();
  const Request request = request_of(150, 1);
  ask(model, config(), request);
  EngineConfig salted = config(), foreign = config();
  salted.prefix_store.salt = "tenant 2";
  foreign.prefix_store.identity = "other";
  EXPECT_EQ(ask(model, salted, request).stats.stored_hit_rows, 0);
  EXPECT_EQ(ask(model, foreign, request).stats.stored_hit_rows, 0);
  EXPECT_EQ(files().size(), 6u);
  // A file of another identity under a name that is looked for.
  const std::vector<std::string> all = files();
  std::vector<std::string> contents;
  for (const std::string& path : all) contents.push_back(read_file(path));
  for (size_t i = 0; i < all.size(); ++i) write_file_atomic(all[i], contents[(i + 1) % all.size()]);
  const Outcome outcome = ask(model, config(), request);
  EXPECT_EQ(outcome.stats.stored_hit_rows, 0);
  expect_same(outcome.completion, alone(model, request));
  EXPECT_EQ(ask(model, config(), request).stats.stored_hit_rows, 64) << "the first was refused and written anew";
  EXPECT_EQ(ask(model, config(), request).stats.stored_hit_rows, 128) << "and the second";
}

// Every way of damage, at many places: a miss behind it, the bits of a miss, and the file is made again.
TEST_F(PrefixStoreTest, DamageIsAMiss) {
  Decoder model = model_of();
  const Request request = request_of(150, 1);
  const Completion expected = alone(model, request);
  ask(model, config(), request);
  const std::vector<std::string> all = files();
  ASSERT_EQ(all.size(), 2u);
  Rng rng(3, RngStream::kTest);
  for (int i = 0; i < 120; ++i) {
    const std::string& path = all[rng.next_below(2)];
    const std::string good = read_file(path);
    std::string bad = good;
    const size_t at =
        i < 60 ? static_cast<size_t>(i) * 6 : rng.next_below(bad.size());  // the header byte by byte, then anywhere
    switch (i % 4) {
      case 0:
        bad[at] = static_cast<char>(bad[at] ^ 1 << rng.next_below(8));
        break;
      case 1:
        bad.resize(at);
        break;
      case 2:
        bad += "more";
        break;
      default:
        for (size_t j = at; j < std::min(bad.size(), at + 9); ++j) bad[j] = static_cast<char>(rng.next_below(256));
    }
    if (bad == good) continue;
    write_file_atomic(path, bad);
    const Outcome outcome = ask(model, config(), request);
    expect_same(outcome.completion, expected);
    EXPECT_LT(outcome.stats.stored_hit_rows, 128) << i;
    EXPECT_EQ(read_file(path), good) << i;
  }
}

TEST_F(PrefixStoreTest, TheSizeLimitDropsWhatWasNotUsedForLongest) {
  Decoder model = model_of();
  const Request first = request_of(130, 1), second = request_of(130, 2), third = request_of(130, 3);
  ask(model, config(), first);
  const int64_t bytes = static_cast<int64_t>(std::filesystem::file_size(files()[0]));
  const EngineConfig limited = config(5 * bytes);
  ask(model, limited, second);
  EXPECT_EQ(files().size(), 4u);
  EXPECT_EQ(ask(model, limited, first).stats.stored_hit_rows, 128);  // used again
  ask(model, limited, third);
  EXPECT_EQ(files().size(), 5u);
  EXPECT_EQ(ask(model, limited, first).stats.stored_hit_rows, 128);
  EXPECT_EQ(ask(model, limited, third).stats.stored_hit_rows, 128);
  EXPECT_EQ(ask(model, limited, second).stats.stored_hit_rows, 64) << "of a chain the end goes first";
  const Request longest = request_of(700, 4);  // more than there is room for: its beginning is kept
  expect_same(ask(model, limited, longest).completion, alone(model, longest, 16));
  EXPECT_EQ(ask(model, limited, longest).stats.stored_hit_rows, 5 * 64);
}

TEST_F(PrefixStoreTest, AFolderThatCannotBeUsedIsAMiss) {
  Decoder model = model_of();
  const Request request = request_of(150, 1);
  const Completion expected = alone(model, request);
  EngineConfig broken = config();
  write_file_atomic(folder_ + "/file", "x");
  broken.prefix_store.directory = folder_ + "/file";
  expect_same(ask(model, broken, request).completion, expected);
  broken.prefix_store.directory = "/proc/nowhere";
  expect_same(ask(model, broken, request).completion, expected);
  // A folder that goes away takes no file.
  Engine engine(model, config());
  std::filesystem::remove_all(folder_);
  expect_same(engine.generate({request})[0], expected);
  expect_same(engine.generate({request})[0], expected);
}

// A disk that is full in the middle of a file (here: a limit on its size): no answer changes, and no part of a file stays.
TEST_F(PrefixStoreTest, AFullDiskTakesNoFile) {
  Decoder model = model_of();
  const Request request = request_of(200, 1);
  const Completion expected = alone(model, request);
  ask(model, config(), request);
  ASSERT_EQ(files().size(), 3u);
  const rlim_t bytes = std::filesystem::file_size(files()[0]);
  std::filesystem::remove_all(folder_);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {bytes / 2, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  {
    Engine engine(model, config());
    for (int i = 0; i < 2; ++i) expect_same(engine.generate({request})[0], expected);
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, ignored);
  EXPECT_TRUE(files().empty());
  expect_same(ask(model, config(), request).completion, expected);  // there is room again
  EXPECT_EQ(ask(model, config(), request).stats.stored_hit_rows, 192);
}

// New weights: what was kept belongs to the old ones.
TEST_F(PrefixStoreTest, ResettingTheCacheClosesTheStore) {
  Decoder model = model_of();
  const Request request = request_of(150, 1);
  Engine engine(model, config());
  engine.generate({request});
  ASSERT_EQ(files().size(), 2u);
  engine.reset_cache();
  engine.generate({request_of(150, 2)});
  EXPECT_EQ(files().size(), 2u);
  engine.generate({request});
  EXPECT_EQ(engine.stats().stored_hit_rows, 0);
}

TEST_F(PrefixStoreTest, SpeculationWithAStoreKeepsTheBits) {
  ModelConfig c = tiny_deepseek();
  c.num_nextn_predict_layers = 1;
  Decoder model = packed_model(c, {Compute::kBF16, MlaFormula::kAbsorbed});
  const Request request = request_of(200, 1);
  const Completion expected = alone(model, request);
  EngineConfig speculating = config();
  speculating.speculation.kind = SpeculationConfig::Kind::kMtp;
  speculating.speculation.draft_tokens = 2;
  expect_same(ask(model, speculating, request).completion, expected);
  const Outcome hit = ask(model, speculating, request);
  EXPECT_EQ(hit.stats.stored_hit_rows, 192);
  expect_same(hit.completion, expected);
  EXPECT_EQ(ask(model, config(), request).stats.stored_hit_rows, 0) << "blocks of another number of layers";
}

}  // namespace
}  // namespace fathom
