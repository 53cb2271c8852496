#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/log_sum_exp.h"
#include "kernels/rungs.h"
#include "ops/sampling/logit_adjustments.h"
#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/typical.h"

namespace fathom {
namespace {

constexpr int64_t kOne = int64_t{1} << 40;  // the weight of the best token
constexpr int64_t kBlock = 512;             // tokens whose weights are summed at once on the way to the draw

// The worst token that is kept: a larger weight, or the same one and a lower id, is better.
struct Border {
  int64_t weight = 1;
  int32_t id = INT32_MAX;
  bool keeps(int64_t w, int64_t i) const { return w > weight || (w == weight && i <= id); }
};

// 16 buckets for each power of two, rising with the weight. 0 < weight <= 2^40.
constexpr int kBuckets = 41 * 16;
int bucket(int64_t weight) {
  const int power = 63 - __builtin_clzll(static_cast<unsigned long long>(weight));
  return power * 16 + static_cast<int>(power >= 4 ? (weight >> (power - 4)) & 15 : (weight << (4 - power)) & 15);
}

// Moves the border up to the token with which the best ones' sum reaches `goal`; each token counts its weight, or 1. All is
// kept where the sum stays below. A histogram finds the bucket of the border, and only that bucket is sorted.
void raise(Border& border, const int64_t* weights, int64_t n, int64_t goal, bool count) {
  int64_t sums[kBuckets] = {};
  for (int64_t i = 0; i < n; ++i)
    if (border.keeps(weights[i], i)) sums[bucket(weights[i])] += count ? 1 : weights[i];
  int64_t above = 0;
  int b = kBuckets - 1;
  while (b >= 0 && above + sums[b] < goal) above += sums[b--];
  if (b < 0) return;
  std::vector<Border> inside;
  for (int64_t i = 0; i < n; ++i)
    if (border.keeps(weights[i], i) && bucket(weights[i]) == b) inside.push_back({weights[i], static_cast<int32_t>(i)});
  std::stable_sort(inside.begin(), inside.end(), [](const Border& x, const Border& y) { return x.weight > y.weight; });
  for (const Border& x : inside) {
    border = x;
    above += count ? 1 : x.weight;
    if (above >= goal) return;
  }
}

int64_t kept_weight(const Border& border, const int64_t* weights, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += border.keeps(weights[i], i) ? weights[i] : 0;
  return sum;
}

int32_t arg_max(const float* x, int64_t n, float maximum) {
  for (int64_t i = 0; i < n; ++i)
    if (x[i] == maximum) return static_cast<int32_t>(i);
  return -1;
}

}  // namespace

SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform,
                          const SamplingHistory& history) {
  CHECK(1 <= num_valid && num_valid <= static_cast<int64_t>(logits.size()));
  CHECK(params.temperature >= 0 && params.top_k >= 0 && params.top_p >= 0 && params.min_p >= 0 && params.min_p <= 1);
  CHECK(params.typical_p >= 0 && params.typical_p <= 1 && params.repetition_penalty > 0);
  CHECK(uniform >= 0 && uniform < 1);
  const float* raw = logits.data();
  const float lse = row_log_sum_exp(raw, num_valid);
  if (!std::isfinite(lse))
    fail("sampling",
         "a row of logits has no finite log-sum-exp (" + std::to_string(lse) + "); the model's weights or inputs are broken");

  const bool adjusted = params.adjusts_logits();
  const float* x = raw;
  if (adjusted) {
    static thread_local std::vector<float> buffer;
    if (static_cast<int64_t>(buffer.size()) < num_valid) buffer.resize(num_valid);
    adjust_logits(logits, num_valid, params, history, buffer.data());
    x = buffer.data();
  }
  const float maximum = row_max(x, num_valid);
  if (!std::isfinite(maximum))
    fail("sampling", "bias and penalties take the logits beyond what a number holds; give smaller ones");

  SampledToken token;
  if (params.temperature == 0) {
    token.id = arg_max(x, num_valid, maximum);
    token.logp = raw[token.id] - lse;
    token.sampling_logp = 0;
    return token;
  }
  const float inverse_temperature = std::min(1.f / params.temperature, 1e30f);  // finite also for a denormal temperature
  static thread_local std::vector<int64_t> room;  // fresh pages for a large vocabulary would cost more than the draw
  if (static_cast<int64_t>(room.size()) < num_valid) room.resize(num_valid);
  int64_t* weights = room.data();
  const int64_t n = num_valid, whole = FATHOM_PICK3(sampling_weights)(x, n, maximum, inverse_temperature, weights);

  const bool truncated = (params.top_k > 0 && params.top_k < n) || params.top_p < 1 || params.min_p > 0 || params.typical_p < 1;
  Border border;  // nothing is cut but what has no weight
  int64_t total = whole;
  if (params.top_k > 0 && params.top_k < n) {
    raise(border, weights, n, params.top_k, true);
    if (params.top_p < 1) total = kept_weight(border, weights, n);
  }
  if (params.top_p < 1)
    raise(border, weights, n, std::max<int64_t>(1, static_cast<int64_t>(std::ceil(params.top_p * static_cast<double>(total)))),
          false);
  if (params.min_p > 0) {
    const int64_t least = static_cast<int64_t>(std::ceil(static_cast<double>(params.min_p) * kOne));
    if (least > border.weight) border = {least, INT32_MAX};
  }
  if (truncated) {
    for (int64_t i = 0; i < n; ++i) weights[i] = border.keeps(weights[i], i) ? weights[i] : 0;
    if (params.typical_p < 1) {
      static thread_local std::vector<float> scaled;
      if (static_cast<int64_t>(scaled.size()) < n) scaled.resize(n);
      for (int64_t i = 0; i < n; ++i) scaled[i] = (x[i] - maximum) * inverse_temperature;
      keep_typical(weights, scaled.data(), n, params.typical_p);
    }
    total = FATHOM_PICK3(sum_weights)(weights, n);
  }

  // uniform x total, rounded down: exact in 128 bits. A cumulated weight exceeds it at a token that has weight.
  const auto target = static_cast<int64_t>(
      (static_cast<unsigned __int128>(total) * static_cast<uint64_t>(static_cast<double>(uniform) * 0x1p53)) >> 53);
  const auto sum = FATHOM_PICK3(sum_weights);
  int64_t cumulated = 0, i = 0;
  for (; i + kBlock < n; i += kBlock) {
    const int64_t block = sum(weights + i, kBlock);
    if (cumulated + block > target) break;
    cumulated += block;
  }
  while ((cumulated += weights[i]) <= target) ++i;
  token.id = static_cast<int32_t>(i);
  token.logp = raw[token.id] - lse;
  if (!truncated && !adjusted && params.temperature == 1) {
    token.sampling_logp = token.logp;  // one and the same distribution
  } else {
    const double log_total = FATHOM_PICK3(sampling_log)(static_cast<double>(total) * 0x1p-40);
    token.sampling_logp = static_cast<float>(static_cast<double>(x[token.id] - maximum) * inverse_temperature - log_total);
  }
  return token;
}

std::vector<TokenLogp> top_log_probs(std::span<const float> logits, int64_t num_valid, int64_t n) {
  CHECK(1 <= num_valid && num_valid <= static_cast<int64_t>(logits.size()) && n >= 0);
  std::vector<TokenLogp> top;  // a heap with the worst in front, logits in place of log-probabilities
  if (n == 0) return top;
  const auto better = [](const TokenLogp& a, const TokenLogp& b) {
    return a.logp > b.logp || (a.logp == b.logp && a.id < b.id);
  };
  for (int32_t i = 0; i < num_valid; ++i) {
    if (static_cast<int64_t>(top.size()) == n) {
      if (!(logits[i] > top.front().logp)) continue;
      std::pop_heap(top.begin(), top.end(), better);
      top.pop_back();
    }
    top.push_back({i, logits[i]});
    std::push_heap(top.begin(), top.end(), better);
  }
  std::sort_heap(top.begin(), top.end(), better);
  const float lse = row_log_sum_exp(logits.data(), num_valid);
  for (TokenLogp& t : top) t.logp -= lse;
  return top;
}

}  // namespace fathom
