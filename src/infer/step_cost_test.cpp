#include "infer/step_cost.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"

namespace fathom {
namespace {

double truth(int64_t decode_rows, int64_t prefill_rows) {
  return 0.010 + 0.001 * static_cast<double>(decode_rows) + 0.0005 * static_cast<double>(prefill_rows);
}

TEST(StepCost, FindsTheLineOfMixedSteps) {
  StepCost cost;
  EXPECT_FALSE(cost.measured());
  EXPECT_EQ(cost.prefill_rows_within(0.04, 4), std::numeric_limits<int64_t>::max());
  Rng rng(1, RngStream::kTest);
  for (int i = 0; i < 120; ++i) {  // half of the steps decode only
    const int64_t d = static_cast<int64_t>(rng.next_below(64)),
                  p = i % 2 == 0 && d > 0 ? 0 : static_cast<int64_t>(rng.next_below(512)) + 1;
    cost.record(d, p, truth(d, p));
  }
  for (const int64_t d : {1, 16, 64})
    for (const int64_t p : {0, 100, 400}) EXPECT_NEAR(cost.seconds(d, p), truth(d, p), 0.05 * truth(d, p)) << d << " " << p;
  EXPECT_NEAR(cost.prefill_rows_within(0.040, 4), 52, 1);  // (40 - 10 - 4) / 0.5
  EXPECT_NEAR(cost.prefill_rows_within(0.015, 4), 7, 1);   // decoding takes 14: a quarter of it more, 3.5 / 0.5
  EXPECT_NEAR(cost.prefill_rows_within(0.001, 4), 7, 1);
}

// The clock of another machine: only the unit changes.
TEST(StepCost, KnowsNoUnit) {
  StepCost a, b;
  for (int64_t i = 1; i < 20; ++i) {
    a.record(i % 5, 7 * i, truth(i % 5, 7 * i));
    b.record(i % 5, 7 * i, 1024 * truth(i % 5, 7 * i));
    EXPECT_DOUBLE_EQ(1024 * a.seconds(3, 50), b.seconds(3, 50));
  }
}

TEST(StepCost, FollowsAndIsNotLedAstrayByOneSlowStep) {
  StepCost cost;
  for (int i = 0; i < 200; ++i) cost.record(8, i % 2 == 0 ? 64 : 0, truth(8, i % 2 == 0 ? 64 : 0));
  cost.record(8, 64, 30.0);  // the machine slept
  EXPECT_LT(cost.seconds(8, 64), 1.3 * truth(8, 64));
  for (int i = 0; i < 60; ++i) cost.record(8, i % 2 == 0 ? 64 : 0, 3 * truth(8, i % 2 == 0 ? 64 : 0));
  EXPECT_NEAR(cost.seconds(8, 64), 3 * truth(8, 64), 0.1 * truth(8, 64));
  EXPECT_NEAR(cost.seconds(8, 0), 3 * truth(8, 0), 0.1 * truth(8, 0));
}

// A thousand steps without prompts say nothing about prompts: what was known of them stays, and one step corrects it.
TEST(StepCost, DecodingDoesNotForgetWhatPromptsCost) {
  StepCost cost;
  for (int64_t i = 0; i < 20; ++i) cost.record(4, 50 + 10 * i, truth(4, 50 + 10 * i));
  const double before = cost.seconds(4, 100) - cost.seconds(4, 0);
  for (int i = 0; i < 1000; ++i) cost.record(4, 0, truth(4, 0));
  EXPECT_NEAR(cost.seconds(4, 100) - cost.seconds(4, 0), before, 0.05 * before);
  EXPECT_NEAR(cost.seconds(4, 0), truth(4, 0), 0.01 * truth(4, 0));
  cost.record(4, 100, 0.014 + 100 * 0.0007);
  EXPECT_NEAR(cost.seconds(4, 100) - cost.seconds(4, 0), 100 * 0.0007, 0.1 * 100 * 0.0007);
}

}  // namespace
}  // namespace fathom
