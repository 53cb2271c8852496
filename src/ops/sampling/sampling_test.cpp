#include "ops/sampling/sampling.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "kernels/log_sum_exp.h"
#include "kernels/op_testing.h"
#include "ops/sampling/sampling_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SampledToken draw(const std::vector<float>& logits, const SamplingParams& params, float uniform, int64_t num_valid = -1) {
  return sample_token(logits, num_valid < 0 ? static_cast<int64_t>(logits.size()) : num_valid, params, uniform);
}
std::vector<float> some_logits(int64_t n, uint64_t seed, float scale = 1.5f) {
  const Tensor t = random_tensor({n}, DType::kF32, seed, scale);
  return {t.data<float>(), t.data<float>() + n};
}
std::vector<double> widened(const std::vector<float>& x) { return {x.begin(), x.end()}; }

std::vector<SamplingParams> settings() {
  return {{1.f, 0, 1.f, 0.f},    {0.6f, 0, 0.95f, 0.f},   {2.f, 7, 1.f, 0.f},    {1.f, 20, 0.7f, 0.f},
          {0.8f, 0, 1.f, 0.05f}, {1.5f, 30, 0.9f, 0.02f}, {0.3f, 1, 1.f, 0.f},   {1.f, 0, 1e-9f, 0.f},
          {1.f, 0, 0.f, 0.f},    {1.f, 0, 1.f, 1.f},      {1.f, 1000, 0.5f, 0.f}};
}

// Every token's share of the unit interval, by its borders: the draw is the inverse of the cumulated distribution by id.
TEST(Sampling, TheDrawInvertsTheCumulatedDistribution) {
  for (const SamplingParams& params : settings())
    for (int64_t n : {1, 5, 100, 777}) {
      const auto logits = some_logits(n, n);
      const auto p = reference::sampling_distribution(widened(logits), n, params);
      double cumulated = 0;
      for (int64_t i = 0; i < n; ++i) {
        // uniform has 24 bits and weights a relative error of 2e-7: tokens below 1e-5 have no safe inner point.
        if (p[i] > 1e-5)
          for (double at : {0.2, 0.5, 0.8}) {
            const SampledToken t = draw(logits, params, static_cast<float>(cumulated + at * p[i]));
            ASSERT_EQ(t.id, i) << n;
            EXPECT_NEAR(t.sampling_logp, std::log(p[i]), 3e-6 + 1e-6 / params.temperature) << n;
          }
        cumulated += p[i];
      }
    }
}

TEST(Sampling, ChiSquare) {
  const int64_t n = 40;
  const auto logits = some_logits(n, 3);
  for (const SamplingParams& params : settings()) {
    const auto p = reference::sampling_distribution(widened(logits), n, params);
    std::vector<int64_t> counts(n);
    const int64_t draws = 8000;
    for (int64_t i = 0; i < draws; ++i) {
      Rng rng(7, RngStream::kSample, 0, i, 5);  // keyed as the engine does: by sequence and position
      ++counts[draw(logits, params, rng.next_float()).id];
    }
    double chi = 0, expected_rest = 0, seen_rest = 0;
    int64_t bins = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double expected = p[i] * draws;
      EXPECT_TRUE(p[i] > 0 || counts[i] == 0) << "a cut token was drawn";
      if (expected < 10) {
        expected_rest += expected;
        seen_rest += counts[i];
        continue;
      }
      ++bins;
      chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    if (expected_rest > 5) ++bins, chi += (seen_rest - expected_rest) * (seen_rest - expected_rest) / expected_rest;
    const double freedom = static_cast<double>(bins - 1);
    EXPECT_LE(chi, freedom + 4 * std::sqrt(2 * freedom) + 1e-9) << "4 sigma of chi-square";
  }
}

TEST(Sampling, TemperatureZeroIsTheFirstLargest) {
  const SamplingParams greedy{0.f, 0, 1.f, 0.f};
  for (float uniform : {0.f, 0.5f, 0.999f}) {
    EXPECT_EQ(draw({1.f, 3.f, 3.f, 2.f}, greedy, uniform).id, 1);
    EXPECT_EQ(draw({-kInfinity, -5.f, -kInfinity}, greedy, uniform).id, 1);
  }
  const auto logits = some_logits(500, 9);
  const SampledToken t = draw(logits, greedy, 0.3f);
  EXPECT_EQ(t.id, std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_EQ(t.sampling_logp, 0.f);
  EXPECT_EQ(t.logp, logits[t.id] - row_log_sum_exp(logits.data(), 500));
}

TEST(Sampling, TopKKeepsExactlyKOnTies) {
  const std::vector<float> equal(10, 2.f);
  std::vector<int> seen(10);
  for (int i = 0; i < 1000; ++i) ++seen[draw(equal, {1.f, 3, 1.f, 0.f}, (i + 0.5f) / 1000).id];
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 7);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(seen[i], 333, 2) << "the lower ids";
}

TEST(Sampling, TopPOnTiesKeepsTheShortestRun) {
  const std::vector<float> equal(10, 2.f);
  for (auto [top_p, kept] :
       {std::pair{0.25f, 3}, {0.3f, 4}, {0.5f, 5}, {0.05f, 1}}) {  // 0.3f is a little more than three tenths
    std::vector<int> seen(10);
    for (int i = 0; i < 1000; ++i) ++seen[draw(equal, {1.f, 0, top_p, 0.f}, (i + 0.5f) / 1000).id];
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 10 - kept) << top_p;
    EXPECT_GT(seen[kept - 1], 0);
  }
}

TEST(Sampling, TopPCountsWhatTopKLeft) {
  // Probabilities 0.4, 0.3, 0.2, 0.1; top-2 leaves 4/7, 3/7: 0.5 is reached by the first alone.
  std::vector<float> logits;
  for (float p : {0.4f, 0.3f, 0.2f, 0.1f}) logits.push_back(std::log(p));
  for (float u : {0.f, 0.5f, 0.99f}) EXPECT_EQ(draw(logits, {1.f, 2, 0.5f, 0.f}, u).id, 0);
  EXPECT_EQ(draw(logits, {1.f, 0, 0.5f, 0.f}, 0.99f).id, 1) << "without top-k two are needed";
}

TEST(Sampling, OneFiniteLogit) {
  std::vector<float> logits(300, -kInfinity);
  logits[123] = -7.f;
  for (const SamplingParams& params : settings()) {
    const SampledToken t = draw(logits, params, 0.73f);
    EXPECT_EQ(t.id, 123);
    EXPECT_EQ(t.logp, 0.f);
    EXPECT_EQ(t.sampling_logp, 0.f);
  }
}

TEST(Sampling, PaddingIsNeverDrawn) {
  std::vector<float> logits(20, 0.f);
  for (int i = 10; i < 20; ++i) logits[i] = 50.f;
  for (const SamplingParams& params : settings())
    for (float u : {0.f, 0.5f, 0.9999f}) EXPECT_LT(draw(logits, params, u, 10).id, 10);
  EXPECT_NEAR(draw(logits, {}, 0.5f, 10).logp, std::log(0.1), 1e-6);
}

TEST(Sampling, LogpIsTheSharedRoutines) {
  const auto logits = some_logits(9000, 1, 3.f);
  const float lse = row_log_sum_exp(logits.data(), 9000);
  for (const SamplingParams& params : settings())
    for (float u : {0.1f, 0.6f}) {
      const SampledToken t = draw(logits, params, u);
      EXPECT_EQ(t.logp, logits[t.id] - lse);
      const bool plain = params.temperature == 1 && params.top_k == 0 && params.top_p == 1 && params.min_p == 0;
      EXPECT_TRUE(!plain || t.sampling_logp == t.logp);
    }
}

TEST(Sampling, BrokenLogitsAreAnError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits : {std::vector<float>{-kInfinity, -kInfinity}, {1.f, nan, 2.f}, {1.f, kInfinity}})
    for (float temperature : {0.f, 1.f}) EXPECT_THROW(draw(logits, {temperature, 0, 1.f, 0.f}, 0.5f), Error);
}

TEST(Sampling, ExtremeTemperatures) {
  const auto logits = some_logits(100, 4);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  for (float temperature : {1e-40f, 1e-30f, 1e-4f}) EXPECT_EQ(draw(logits, {temperature, 0, 1.f, 0.f}, 0.7f).id, best);
  EXPECT_EQ(draw(logits, {1e30f, 0, 1.f, 0.f}, 0.755f).id, 75) << "all are alike";
}

TEST(Sampling, SameOnEveryRung) {
  const auto logits = some_logits(2500, 2, 2.f);
  expect_same_bits_everywhere([&] {
    std::string bytes;
    for (const SamplingParams& params : settings())
      for (int i = 0; i < 4; ++i) {
        const SampledToken t = draw(logits, params, (i + 0.3f) / 4);
        bytes.append(reinterpret_cast<const char*>(&t), sizeof t);
      }
    return bytes;
  });
}

}  // namespace
}  // namespace fathom
