#include "bench/speculate_bench.h"

#include <gtest/gtest.h>

#include "bench/random_model.h"
#include "model/decoder_testing.h"

namespace fathom {
namespace {

TEST(SpeculateBench, CountsWhatItSays) {
  Decoder model = random_model(tiny_config("v3"), {Compute::kBF16, MlaFormula::kAbsorbed});
  SpeculateBenchOptions options;
  options.speculation.kind = SpeculationConfig::Kind::kMtp;
  options.speculation.draft_tokens = 2;
  options.force_acceptance = 1;
  options.tokens = 24;
  options.batch = 2;
  options.runs = 2;
  const SpeculateBenchResult right = bench_speculate(model, options);
  EXPECT_DOUBLE_EQ(right.tokens_per_step, 3);
  EXPECT_EQ(right.drafted[0], 2 * 2 * 8);  // runs, sequences, steps
  EXPECT_EQ(right.accepted[1], 2 * 2 * 8);
  EXPECT_EQ(right.drafted[2], 0);
  EXPECT_DOUBLE_EQ(right.draft_bytes, 2.0 * static_cast<double>(model.mtp_weight_bytes_per_token()));
  EXPECT_GT(right.experts, right.plain_experts);  // more rows touch more of them
  EXPECT_GE(right.plain_experts, 2 * 3);          // layers, top 3
  EXPECT_LE(right.experts, 2 * 8);
  EXPECT_GT(right.step_bytes, right.plain_step_bytes);
  EXPECT_NEAR(right.allowed_gain, 3 * right.plain_step_bytes / (right.step_bytes + right.draft_bytes), 1e-9);
  EXPECT_GT(right.gain, 0);
  options.force_acceptance = 0;
  const SpeculateBenchResult wrong = bench_speculate(model, options);
  EXPECT_DOUBLE_EQ(wrong.tokens_per_step, 1);
  EXPECT_EQ(wrong.accepted[0], 0);
  EXPECT_LT(wrong.allowed_gain, 1);
}

TEST(SpeculateBench, AnExpertFreeModelReadsItsWeightsOnce) {
  Decoder model = random_model(tiny_config("qwen2"), {Compute::kF32, MlaFormula::kExpanded});
  SpeculateBenchOptions options;
  options.speculation.kind = SpeculationConfig::Kind::kNgram;
  options.speculation.draft_tokens = 4;
  options.force_acceptance = 1;
  options.tokens = 20;
  options.runs = 1;
  const SpeculateBenchResult result = bench_speculate(model, options);
  EXPECT_DOUBLE_EQ(result.step_bytes, result.plain_step_bytes);
  EXPECT_DOUBLE_EQ(result.draft_bytes, 0);
  EXPECT_DOUBLE_EQ(result.allowed_gain, 5);
  EXPECT_DOUBLE_EQ(result.experts, 0);
}

}  // namespace
}  // namespace fathom
