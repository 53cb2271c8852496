#include "bench/batched_bench.h"

#include <gtest/gtest.h>

#include "backend/cpu/peak.h"
#include "base/error.h"
#include "bench/engine_run.h"
#include "bench/random_model.h"
#include "model/decoder_testing.h"
#include "nn/profile.h"

namespace fathom {
namespace {

TEST(BatchedBench, CountsWhatItSays) {
  for (const char* kind : {"v3", "qwen2"}) {
    Decoder model = random_model(tiny_config(kind, 400), {Compute::kBF16, MlaFormula::kAbsorbed});
    BatchedBenchOptions options;
    options.prompt_tokens = 70;
    options.tokens = 12;
    options.runs = 3;
    const BatchedBenchRow one = bench_batched(model, 1, options);
    options.depth = 130;
    const BatchedBenchRow row = bench_batched(model, 5, options);
    for (const double share : {row.schedule_share, row.sample_share}) EXPECT_GT(share, 0);
    EXPECT_LT(row.schedule_share + row.sample_share, 1);
    EXPECT_EQ(row.batch, 5);
    EXPECT_EQ(row.depth, 128);
    EXPECT_EQ(row.runs, 3);
    EXPECT_GT(row.prompt_tokens_per_s, 0);
    EXPECT_NEAR(row.tokens_per_s * row.step_s, 5, 1e-9) << "each step gives every sequence a token";
    EXPECT_NEAR(row.gb_per_s * row.step_s, row.step_bytes / 1e9, 1e-12);
    EXPECT_NEAR(row.bandwidth_share * memory_bandwidth(), row.gb_per_s * 1e9, 1e-3);
    EXPECT_NEAR(row.peak_share * linear_peak(model), row.tera_flops, 1e-9);
    EXPECT_DOUBLE_EQ(row.allowed_share, std::max(row.peak_share, row.bandwidth_share));
    EXPECT_NEAR(row.allowed_tokens_per_s * row.allowed_share, row.tokens_per_s, 1e-6);
    if (model.config().n_routed_experts > 0) {
      EXPECT_DOUBLE_EQ(one.step_experts, 2 * 3);  // layers, top 3
      EXPECT_GT(row.step_experts, one.step_experts);
      EXPECT_LE(row.step_experts, 2 * 8);
    } else {  // the dense weights once, whatever the batch; the shared blocks once
      EXPECT_DOUBLE_EQ(one.step_experts, 0);
      EXPECT_NEAR(row.step_bytes, static_cast<double>(model.weight_bytes_per_token()) + cache_bytes(model, 128 + 5 * 76.5), 1);
      EXPECT_NEAR(one.step_bytes, static_cast<double>(model.weight_bytes_per_token()) + cache_bytes(model, 76.5), 1);
    }
  }
}

TEST(BatchedBench, TheProfileHoldsTheTimedStepsAlone) {
  Decoder model = random_model(tiny_config("v3", 400), {Compute::kBF16, MlaFormula::kAbsorbed});
  BatchedBenchOptions options;
  options.prompt_tokens = 70;
  options.tokens = 12;
  options.runs = 3;
  profile_enable(true);
  bench_batched(model, 2, options);
  EXPECT_TRUE(profile_enabled());
  profile_enable(false);
  for (const ProfileRow& r : profile_rows())
    if (r.name == "step") {
      EXPECT_EQ(r.calls, options.runs * (1 + options.tokens)) << "first tokens once more; prompts outside of the runs";
      return;
    }
  FAIL() << "no step in the profile";
}

TEST(BatchedBench, TooLongIsAnError) {
  Decoder model = random_model(tiny_config("v3", 400), {Compute::kF32, MlaFormula::kAbsorbed});
  BatchedBenchOptions options;
  options.depth = 300;
  options.prompt_tokens = 64;
  options.tokens = 100;
  EXPECT_THROW(bench_batched(model, 2, options), Error);
}

}  // namespace
}  // namespace fathom
