#include "ops/sampling/sampling.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "kernels/log_sum_exp.h"
#include "kernels/op_testing.h"
#include "kernels/rungs.h"
#include "ops/sampling/border.h"
#include "ops/sampling/nucleus.h"
#include "ops/sampling/sampling_cpu.h"
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
  return {{1.f, 0, 1.f, 0.f},         {0.6f, 0, 0.95f, 0.f},         {2.f, 7, 1.f, 0.f},
          {1.f, 20, 0.7f, 0.f},       {0.8f, 0, 1.f, 0.05f},         {1.5f, 30, 0.9f, 0.02f},
          {0.3f, 1, 1.f, 0.f},        {1.f, 0, 1e-9f, 0.f},          {1.f, 0, 0.f, 0.f},
          {1.f, 0, 1.f, 1.f},         {1.f, 1000, 0.5f, 0.f},        {1.f, 0, 1.f, 0.f, 0.5f},
          {0.7f, 40, 1.f, 0.f, 0.8f}, {1.3f, 0, 0.95f, 0.01f, 0.2f}, {1.f, 0, 1.f, 0.f, 0.f}};
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

// Chi-square of counts against p; what is too rare shares a bin.
void expect_distribution(const std::vector<double>& p, const std::vector<int64_t>& counts, int64_t draws) {
  double chi = 0, expected_rest = 0, seen_rest = 0;
  int64_t bins = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(p.size()); ++i) {
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
    expect_distribution(p, counts, draws);
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
      const bool plain =
          params.temperature == 1 && params.top_k == 0 && params.top_p == 1 && params.min_p == 0 && params.typical_p == 1;
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

std::vector<SamplingParams> adjusting_settings() {
  std::vector<SamplingParams> all;
  for (const SamplingParams& base : {SamplingParams{1.f, 0, 1.f, 0.f}, SamplingParams{0.7f, 20, 0.9f, 0.f}}) {
    SamplingParams p = base;
    p.repetition_penalty = 1.3f;
    all.push_back(p);
    p = base, p.presence_penalty = 0.8f, p.frequency_penalty = 0.4f;
    all.push_back(p);
    p = base, p.presence_penalty = -0.5f, p.logit_bias = {{3, 2.f}, {4, -2.f}, {3, -0.5f}};
    all.push_back(p);
    p = base, p.repetition_penalty = 0.8f, p.frequency_penalty = 0.3f, p.logit_bias = {{7, 1.5f}, {8, -100.f}};
    all.push_back(p);
  }
  return all;
}

TEST(Sampling, BiasAndPenaltiesAreTheFormulas) {
  const int64_t n = 40;
  const auto logits = some_logits(n, 3);
  const std::vector<int32_t> prompt = {1, 2, 2, 3, 9, 30}, generated = {3, 3, 5, 7, 8, 8, 8, 39};
  const SamplingHistory history{prompt, generated};
  for (const SamplingParams& params : adjusting_settings())
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second call finds the scratch space as the first did
      const auto p = reference::sampling_distribution(widened(logits), n, params, history);
      double cumulated = 0;
      for (int64_t i = 0; i < n; ++i) {
        if (p[i] > 1e-5) {
          const SampledToken t = sample_token(logits, n, params, static_cast<float>(cumulated + 0.5 * p[i]), history);
          ASSERT_EQ(t.id, i);
          EXPECT_NEAR(t.sampling_logp, std::log(p[i]), 5e-6);
          EXPECT_EQ(t.logp, logits[i] - row_log_sum_exp(logits.data(), n)) << "the trainer's is of the model's own logits";
        }
        cumulated += p[i];
      }
      SamplingParams greedy = params;
      greedy.temperature = 0;
      const auto best = reference::sampling_distribution(widened(logits), n, greedy, history);
      EXPECT_EQ(sample_token(logits, n, greedy, 0.5f, history).id, std::max_element(best.begin(), best.end()) - best.begin());
    }
  // Ids of padding, which no draw gives, may stand in a prompt.
  const std::vector<int32_t> beyond = {50};
  SamplingParams penalised;
  penalised.repetition_penalty = 2.f;
  EXPECT_EQ(sample_token(logits, n, penalised, 0.4f, {beyond, {}}).id, draw(logits, {}, 0.4f).id);
}

TEST(Sampling, PenaltiesByHand) {
  const std::vector<float> logits = {2.f, -1.f, 0.5f, 0.f};
  const std::vector<int32_t> prompt = {0, 1, 0}, generated = {2, 2};
  SamplingParams params;
  params.repetition_penalty = 2.f;                              // 1, -2, 0.25: what the text holds
  params.frequency_penalty = 0.5f;                              // 0.25 - 2 x 0.5
  params.presence_penalty = 0.25f;                              // - 0.25: -1
  params.logit_bias = {{3, 1.5f}};                              // 0 + 1.5
  const double p[] = {0.352878, 0.017569, 0.047757, 0.581797};  // softmax of 1, -2, -1, 1.5
  double cumulated = 0;
  for (int32_t id = 0; id < 4; ++id) {
    const SampledToken t = sample_token(logits, 4, params, static_cast<float>(cumulated + p[id] / 2), {prompt, generated});
    EXPECT_EQ(t.id, id);
    EXPECT_NEAR(t.sampling_logp, std::log(p[id]), 3e-5);
    cumulated += p[id];
  }
  params.temperature = 0;
  EXPECT_EQ(sample_token(logits, 4, params, 0.f, {prompt, generated}).id, 3);
}

// Half, a quarter, an eighth, an eighth: information 1, 2, 3, 3 bits, entropy 1.75: the distances are 0.75, 0.25, 1.25, 1.25.
TEST(Sampling, TypicalByHand) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.25f), std::log(0.125f), std::log(0.125f)};
  const std::pair<float, std::vector<double>> wanted[] = {
      {0.2f, {0, 1, 0, 0}},                 // a quarter is enough
      {0.7f, {2. / 3, 1. / 3, 0, 0}},       // three quarters
      {0.8f, {4. / 7, 2. / 7, 1. / 7, 0}},  // of the two that are as far the lower id
      {0.9f, {0.5, 0.25, 0.125, 0.125}}};
  for (const auto& [typical_p, p] : wanted) {
    SamplingParams params;
    params.typical_p = typical_p;
    double cumulated = 0;
    for (int32_t id = 0; id < 4; ++id) {
      if (p[static_cast<size_t>(id)] == 0) continue;
      const SampledToken t = draw(logits, params, static_cast<float>(cumulated + p[static_cast<size_t>(id)] / 2));
      EXPECT_EQ(t.id, id) << typical_p;
      EXPECT_NEAR(t.sampling_logp, std::log(p[static_cast<size_t>(id)]), 2e-6) << typical_p;
      cumulated += p[static_cast<size_t>(id)];
    }
  }
}

TEST(Sampling, BiasAndPenaltiesChiSquare) {
  const int64_t n = 40, draws = 8000;
  const auto logits = some_logits(n, 5);
  const std::vector<int32_t> prompt = {1, 2}, generated = {3, 3, 5};
  for (const SamplingParams& params : adjusting_settings()) {
    const auto p = reference::sampling_distribution(widened(logits), n, params, {prompt, generated});
    std::vector<int64_t> counts(n);
    for (int64_t i = 0; i < draws; ++i) {
      Rng rng(7, RngStream::kSample, 0, i, 5);
      ++counts[sample_token(logits, n, params, rng.next_float(), {prompt, generated}).id];
    }
    expect_distribution(p, counts, draws);
  }
}

TEST(Sampling, TypicalKeepsWhatIsAsSurprisingAsTheEntropy) {
  // One likely token and a hundred of 0.5 % each: information 0.69 and 5.3, entropy 3.0. The likely one lies 2.3 away, as do
  // the others; with 0.6 of the mass the nearest are kept first.
  std::vector<float> logits(101, std::log(0.005f));
  logits[0] = std::log(0.5f);
  SamplingParams params;
  params.typical_p = 0.4f;
  const auto p = reference::sampling_distribution(widened(logits), 101, params);
  std::vector<int64_t> counts(101);
  for (int i = 0; i < 1000; ++i) ++counts[draw(logits, params, (static_cast<float>(i) + 0.5f) / 1000).id];
  for (int i = 0; i <= 100; ++i) EXPECT_EQ(counts[i] > 0, p[i] > 0) << i;
}

TEST(Sampling, TopLogProbs) {
  for (int64_t n : {1, 5, 300, 9000}) {
    auto logits = some_logits(n, n, 3.f);
    if (n > 4) logits[4] = logits[2];  // a tie
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (int64_t k : {0, 1, 5, 20, 9000}) {
      const auto top = top_log_probs(logits, n, k);
      ASSERT_EQ(static_cast<int64_t>(top.size()), std::min(k, n));
      for (size_t j = 0; j < top.size(); ++j) {
        EXPECT_EQ(top[j].id, order[j]);
        EXPECT_EQ(top[j].logp, logits[order[j]] - row_log_sum_exp(logits.data(), n));
      }
    }
  }
}

// What sample_token says it does, by a sort of the vocabulary: the same token and the same total, exactly.
SampledToken by_sorting(const std::vector<float>& x, const SamplingParams& params, float uniform) {
  const int64_t n = static_cast<int64_t>(x.size());
  const float maximum = row_max(x.data(), n), k = std::min(1.f / params.temperature, 1e30f);
  std::vector<float> v(n);
  std::vector<int64_t> sums(n / kSamplingBlock + 1), weights(n);
  FATHOM_PICK3(sampling_weigh)(x.data(), n, maximum, k, 1.f, v.data(), sums.data());
  for (int64_t i = 0; i < n; ++i) weights[i] = static_cast<int64_t>(v[i]);
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return weights[a] > weights[b]; });
  const auto keep_first = [&](int64_t count) {
    for (int64_t j = count; j < n; ++j) weights[order[j]] = 0;
  };
  if (params.top_k > 0) keep_first(params.top_k);
  if (params.top_p < 1) {
    const int64_t total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
    const auto goal = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(params.top_p * static_cast<double>(total))));
    int64_t sum = 0, count = 0;
    while (count < n && sum < goal) sum += weights[order[count++]];
    keep_first(count);
  }
  if (params.min_p > 0)
    for (int64_t& w : weights)
      if (w < static_cast<int64_t>(std::ceil(static_cast<double>(params.min_p) * 0x1p40))) w = 0;
  const int64_t total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  const auto target = static_cast<int64_t>(
      (static_cast<unsigned __int128>(total) * static_cast<uint64_t>(static_cast<double>(uniform) * 0x1p53)) >> 53);
  int64_t cumulated = 0, i = 0;
  while ((cumulated += weights[i]) <= target) ++i;
  const float log_total = static_cast<float>(std::log(static_cast<double>(total) * 0x1p-40));
  return {static_cast<int32_t>(i), x[i] - row_log_sum_exp(x.data(), n), (x[i] - maximum) * k - log_total};
}

// Rows with all kinds of ties and tails: flat, few values, peaks, weights below 1, only one that is finite.
TEST(Sampling, SelectionIsThatOfASort) {
  Rng rng(23, RngStream::kTest);
  int64_t draws = 0;
  for (int round = 0; round < 400; ++round) {
    const int64_t sizes[] = {1, 15, 64, 100, 511, 512, 513, 1024, 1500, 5000, 20001};
    const int64_t n = sizes[rng.next_below(11)];
    const uint64_t kind = rng.next_below(7);
    const float scales[] = {0.f, 0.01f, 0.3f, 1.f, 3.f, 8.f, 20.f};
    auto x = some_logits(n, static_cast<uint64_t>(round), scales[kind]);
    if (rng.next_below(3) == 0)
      for (float& value : x) value = std::round(value * 2) / 2;  // ties
    if (rng.next_below(4) == 0) x[rng.next_below(x.size())] += 15;
    if (rng.next_below(6) == 0)
      for (float& value : x) value -= rng.next_below(2) == 0 ? 26.5f : 0.f;  // weights of 1 and little more
    if (rng.next_below(8) == 0)
      for (size_t i = 0; i + 1 < x.size(); ++i) x[i] = -kInfinity;
    SamplingParams params;
    const float temperatures[] = {0.2f, 0.7f, 1.f, 1.f, 4.f};
    params.temperature = temperatures[rng.next_below(5)];
    if (rng.next_below(2) == 0) params.top_k = 1 + static_cast<int32_t>(rng.next_below(rng.next_below(2) == 0 ? 60 : n + 10));
    const float top_ps[] = {0.f, 1e-6f, 0.3f, 0.5f, 0.9f, 0.95f, 0.999f, 0.9999999f};
    if (rng.next_below(2) == 0) params.top_p = top_ps[rng.next_below(8)];
    const float min_ps[] = {1e-12f, 1e-7f, 0.01f, 0.05f, 0.5f, 1.f};
    if (rng.next_below(3) == 0) params.min_p = min_ps[rng.next_below(6)];
    for (const float u : {0.f, rng.next_float(), rng.next_float(), rng.next_float(), 0.99999994f}) {
      const SampledToken got = draw(x, params, u), want = by_sorting(x, params, u);
      ASSERT_EQ(got.id, want.id) << "round " << round << ", " << n << " tokens, u " << u;
      ASSERT_EQ(got.logp, want.logp);
      if (got.sampling_logp != got.logp) {  // else it is the trainer's bits, which may differ in the last place
        ASSERT_NEAR(got.sampling_logp, want.sampling_logp, 1e-6 + 1e-6 * std::fabs(want.sampling_logp)) << "the total";
      }
      ++draws;
    }
  }
  EXPECT_EQ(draws, 2000);
}

// Long rows with top p alone take one pass where a sample tells about where the border lies; both ways draw the same.
TEST(Sampling, TheNucleusIsThatOfASort) {
  Rng rng(29, RngStream::kTest);
  int64_t rows = 0, by_sample = 0, draws = 0;
  for (const float scale : {0.f, 0.01f, 0.5f, 1.f, 2.f, 5.f, 20.f})
    for (const int64_t n : {4095, 4096, 4609, 20001})
      for (const float top_p : {0.f, 1e-6f, 0.5f, 0.9f, 0.95f, 0.999f, 0.9999999f})
        for (const bool peak : {false, true}) {
          auto x = some_logits(n, static_cast<uint64_t>(++rows), scale);
          if (rows % 3 == 0)
            for (float& value : x) value = std::round(value * 2) / 2;                // ties
          if (peak) x[rng.next_below(2) == 0 ? 0 : rng.next_below(x.size())] += 10;  // the sample holds token 0
          SamplingParams params;
          params.top_p = top_p;
          const SamplingRow row{x.data(), n, row_max(x.data(), n), 1.f};
          by_sample += draw_nucleus(row, top_p, 0.5f).has_value();
          for (const float u : {0.f, rng.next_float(), 0.99999994f}) {
            const SampledToken got = draw(x, params, u), want = by_sorting(x, params, u);
            ASSERT_EQ(got.id, want.id) << n << " tokens, scale " << scale << ", top p " << top_p << ", u " << u;
            ASSERT_NEAR(got.sampling_logp, want.sampling_logp, 1e-6 + 1e-6 * std::fabs(want.sampling_logp)) << "the total";
            ++draws;
          }
        }
  EXPECT_EQ(draws, 3 * rows);
  EXPECT_GT(by_sample, rows / 3);
  EXPECT_LT(by_sample, rows);  // 4,095 tokens, all alike, or a peak in the sample
}

TEST(Sampling, TheBorderIsThatOfASort) {
  for (const int64_t n : {1, 40, 700, 3000, 6000})
    for (const float scale : {0.f, 0.1f, 2.f, 9.f}) {
      auto x = some_logits(n, static_cast<uint64_t>(n), scale);
      for (size_t i = 0; i + 3 < x.size(); i += 3) x[i + 3] = x[i];  // ties
      std::vector<float> v(n);
      std::vector<int64_t> sums(n / kSamplingBlock + 1);
      FATHOM_PICK3(sampling_weigh)(x.data(), n, row_max(x.data(), n), 1.f, 1.f, v.data(), sums.data());
      std::vector<int64_t> order(n);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return static_cast<int64_t>(v[a]) > static_cast<int64_t>(v[b]); });
      const int64_t whole = std::accumulate(sums.begin(), sums.end(), int64_t{0});
      int64_t sum = 0, has_weight = 0;
      for (int64_t rank = 0; rank < n; ++rank) {
        const auto weight = static_cast<int64_t>(v[order[rank]]);
        if (weight == 0) break;
        sum += weight, ++has_weight;
        if (rank > 100 && rank % 97 != 0) continue;
        for (const bool count : {false, true}) {
          const auto border = find_border({v.data(), nullptr, n}, count ? rank + 1 : sum, count, whole);
          ASSERT_TRUE(border) << n << " " << rank;
          EXPECT_EQ(border->last, order[rank]) << n << " " << rank;
          EXPECT_EQ(static_cast<int64_t>(border->low), weight);
          std::vector<float> kept_v(n + kSamplingRoom);
          std::vector<int32_t> kept_ids(n + kSamplingRoom);
          const SamplingTokens kept = kept_tokens({v.data(), nullptr, n}, *border, kept_v.data(), kept_ids.data());
          ASSERT_EQ(kept.n, rank + 1);
          EXPECT_TRUE(std::is_sorted(kept.ids, kept.ids + kept.n));
          kept_sums({v.data(), nullptr, n}, *border, sums.data());
          EXPECT_EQ(std::accumulate(sums.begin(), sums.begin() + (n + kSamplingBlock - 1) / kSamplingBlock, int64_t{0}), sum);
        }
      }
      EXPECT_FALSE(find_border({v.data(), nullptr, n}, has_weight + 1, true, whole));
      EXPECT_FALSE(find_border({v.data(), nullptr, n}, whole + 1, false, whole));
    }
}

TEST(Sampling, SameOnEveryRung) {
  const auto logits = some_logits(2500, 2, 2.f);
  expect_same_bits_everywhere([&] {
    std::string bytes;
    auto all = settings();
    for (const SamplingParams& params : adjusting_settings()) all.push_back(params);
    const std::vector<int32_t> history = {1, 5, 5, 77};
    for (const SamplingParams& params : all)
      for (int i = 0; i < 4; ++i) {
        const SampledToken t = sample_token(logits, 2500, params, (i + 0.3f) / 4, {history, history});
        bytes.append(reinterpret_cast<const char*>(&t), sizeof t);
      }
    return bytes;
  });
}

}  // namespace
}  // namespace fathom
