#include "bench/share_bench.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "bench/random_model.h"
#include "model/decoder_testing.h"

namespace fathom {
namespace {

// 256 positions of prompt and 6 answers of 64: whole blocks, so that what is kept is what is needed.
TEST(ShareBench, ThePromptIsComputedAndKeptOnce) {
  for (const char* kind : {"v3", "qwen2"}) {
    Decoder model = random_model(tiny_config(kind, 1000), {Compute::kBF16, MlaFormula::kAbsorbed});
    ShareBenchOptions options;
    options.answers = 6;
    options.prompt_tokens = 256;
    options.tokens = 64;
    options.hit_tokens = 500;
    options.runs = 2;
    const ShareBenchResult r = bench_share(model, options);
    EXPECT_EQ(r.prompt_rows, 256);
    const double block = static_cast<double>(64 * model.num_cache_layers() * model.cache_row_bytes());
    EXPECT_DOUBLE_EQ(r.needed_cache_bytes, 10 * block);
    EXPECT_LE(r.peak_cache_bytes, r.needed_cache_bytes);
    EXPECT_GE(r.peak_cache_bytes, 9 * block);  // the prompt's four and one at least of each answer but equal ones
    EXPECT_GE(r.alone_peak_cache_bytes, 6 * 4 * block);
    EXPECT_DOUBLE_EQ(r.alone_step_bytes - r.step_bytes, 5 * 4 * block);
    EXPECT_GT(r.gain, 0);
    EXPECT_NEAR(r.tokens_per_s * r.step_s, 6, 1e-9);
    EXPECT_GT(r.hit_s, 0);
    EXPECT_GT(r.hit_step_s, 0);
  }
}

TEST(ShareBench, ComparingAndTheHitCanBeLeftOut) {
  Decoder model = random_model(tiny_config("v3", 1000), {Compute::kF32, MlaFormula::kAbsorbed});
  ShareBenchOptions options;
  options.answers = 2;
  options.prompt_tokens = 70;
  options.tokens = 4;
  options.compare = false;
  options.hit_tokens = 0;
  const ShareBenchResult r = bench_share(model, options);
  EXPECT_EQ(r.prompt_rows, 70);
  EXPECT_DOUBLE_EQ(r.gain, 0);
  EXPECT_DOUBLE_EQ(r.hit_s, 0);
  options.hit_tokens = 999;
  EXPECT_THROW(bench_share(model, options), Error);
}

}  // namespace
}  // namespace fathom
