#include "optim/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace fathom {
namespace {

LrSchedule make(const std::string& kind, double lr, double min_lr, int64_t warmup, int64_t decay = 0,
                const std::string& shape = "cosine") {
  LrSchedule s;
  s.schedule = kind, s.lr = lr, s.min_lr = min_lr, s.warmup_tokens = warmup, s.decay_tokens = decay, s.decay_shape = shape;
  return s;
}

TEST(LrSchedule, WarmUpIsStepPlusOneOverSteps) {
  // 5 warm-up steps of 10 tokens: 1/5, 2/5, … as in the fixtures (lr * min(1, (s+1)/5)).
  const LrSchedule s = make("constant", 0.5, 0, 50);
  for (int step = 0; step < 8; ++step)
    EXPECT_DOUBLE_EQ(s.at(step * 10, step * 10 + 10, 0), 0.5 * std::min(1.0, (step + 1) / 5.0));
}

TEST(LrSchedule, CosineFromPeakToMinimum) {
  const LrSchedule s = make("cosine", 1, 0.1, 100);
  EXPECT_DOUBLE_EQ(s.at(100, 110, 1100), 1);
  EXPECT_NEAR(s.at(600, 610, 1100), 0.55, 1e-12);                                    // half way
  EXPECT_NEAR(s.at(350, 360, 1100), 0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);  // a quarter
  EXPECT_NEAR(s.at(1100, 1110, 1100), 0.1, 1e-12);
  EXPECT_NEAR(s.at(5000, 5010, 1100), 0.1, 1e-12);  // stays there
}

TEST(LrSchedule, LinearFromPeakToMinimum) {
  const LrSchedule s = make("linear", 1, 0.2, 0);
  EXPECT_DOUBLE_EQ(s.at(0, 10, 1000), 1);
  EXPECT_NEAR(s.at(250, 260, 1000), 0.8, 1e-12);
  EXPECT_NEAR(s.at(1000, 1010, 1000), 0.2, 1e-12);
}

TEST(LrSchedule, WsdIsFlatThenDecays) {
  const LrSchedule s = make("wsd", 2, 0, 100, 200, "linear");
  EXPECT_DOUBLE_EQ(s.at(100, 110, 1000), 2);
  EXPECT_DOUBLE_EQ(s.at(800, 810, 1000), 2);
  EXPECT_NEAR(s.at(900, 910, 1000), 1, 1e-12);
  EXPECT_NEAR(make("wsd", 2, 0, 100, 200, "sqrt").at(850, 860, 1000), 1, 1e-12);  // 1 - sqrt(1/4)
  EXPECT_NEAR(make("wsd", 2, 0.5, 100, 200, "cosine").at(900, 910, 1000), 1.25, 1e-12);
}

TEST(LrSchedule, RefusesWhatDoesNotFit) {
  EXPECT_THROW(make("wsd", 1, 0, 600, 600).validate(1000), Error);
  EXPECT_THROW(make("cosine", 1, 0, 0).validate(0), Error);
  EXPECT_THROW(make("cosine", 1, 2, 0).validate(10), Error);
  EXPECT_NO_THROW(make("wsd", 1, 0, 400, 600).validate(1000));
}

TEST(StepSchedule, TakesTheLastShareReached) {
  const std::vector<double> lambda = {0, 0.3, 0.5, 0.1};
  EXPECT_EQ(StepSchedule::at(lambda, 0, 100), 0.3);
  EXPECT_EQ(StepSchedule::at(lambda, 49, 100), 0.3);
  EXPECT_EQ(StepSchedule::at(lambda, 50, 100), 0.1);
  EXPECT_EQ(StepSchedule::at({}, 50, 100), 0);
  EXPECT_NO_THROW(StepSchedule::validate("mtp_weight", lambda));
  for (const std::vector<double>& bad : {std::vector<double>{0.1, 1}, {0, 1, 0}, {0, 1, 0, 2}, {0, -1}, {0, 1, 1, 2}})
    EXPECT_THROW(StepSchedule::validate("mtp_weight", bad), Error);
}

}  // namespace
}  // namespace fathom
