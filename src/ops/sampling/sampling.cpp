#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/log_sum_exp.h"
#include "kernels/rungs.h"
#include "ops/sampling/border.h"
#include "ops/sampling/logit_adjustments.h"
#include "ops/sampling/nucleus.h"
#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/typical.h"

namespace fathom {
namespace {

constexpr double kOne = 0x1p40;  // the weight of the best token

struct Scratch {
  std::vector<float> adjusted, v, kept_v, scaled;
  std::vector<int32_t> kept_ids;
  std::vector<int64_t> sums, weights;
};

// Among those with v >= least: v itself is needed in the block of the draw only.
Drawn draw_plain(const SamplingRow& row, float least, float uniform, Scratch& scratch) {
  const auto weigh = FATHOM_PICK3(sampling_weigh);
  int64_t* sums = at_least(scratch.sums, row.n / kSamplingBlock + 1);
  weigh(row.x, row.n, row.maximum, row.inverse_temperature, least, nullptr, sums);
  const int64_t total = total_of(sums, row.n), target = draw_target(uniform, total);
  int64_t cumulated = 0, block = 0;
  while (cumulated + sums[block] <= target) cumulated += sums[block++];
  float v[kSamplingBlock];
  int64_t i = block * kSamplingBlock, sum;
  weigh(row.x + i, std::min(kSamplingBlock, row.n - i), row.maximum, row.inverse_temperature, least, v, &sum);
  for (const float* w = v;; ++w, ++i)
    if (cumulated += *w >= least ? static_cast<int64_t>(*w) : 0; cumulated > target) break;
  return {static_cast<int32_t>(i), total};
}

// What typical p cuts gets the weight 0.
SamplingTokens cut_to_typical(const SamplingTokens& tokens, const SamplingBorder& border, const SamplingRow& row,
                              float typical_p, Scratch& scratch) {
  float* v = at_least(scratch.kept_v, tokens.n + kSamplingRoom);
  const SamplingTokens kept = kept_tokens(tokens, border, v, at_least(scratch.kept_ids, tokens.n + kSamplingRoom));
  int64_t* weights = at_least(scratch.weights, kept.n);
  float* scaled = at_least(scratch.scaled, kept.n);
  for (int64_t i = 0; i < kept.n; ++i) {
    weights[i] = static_cast<int64_t>(kept.v[i]);
    scaled[i] = (row.x[kept.id(i)] - row.maximum) * row.inverse_temperature;
  }
  keep_typical(weights, scaled, kept.n, typical_p);
  for (int64_t i = 0; i < kept.n; ++i)
    if (weights[i] == 0) v[i] = 0;
  return kept;
}

// With top k, top p or typical p: each works on what the one before it left.
Drawn draw_ranked(const SamplingRow& row, const SamplingParams& params, float least, float uniform, Scratch& scratch) {
  if (params.top_k == 0 && params.typical_p == 1 && params.min_p == 0)
    if (const auto drawn = draw_nucleus(row, params.top_p, uniform)) return *drawn;
  float* v = at_least(scratch.v, row.n);
  int64_t* sums = at_least(scratch.sums, row.n / kSamplingBlock + 1);
  FATHOM_PICK3(sampling_weigh)(row.x, row.n, row.maximum, row.inverse_temperature, 1.f, v, sums);
  SamplingTokens tokens{v, nullptr, row.n};
  int64_t whole = total_of(sums, row.n);
  if (params.top_k > 0 && params.top_k < row.n)
    if (const auto border = find_border(tokens, params.top_k, true, whole)) {
      tokens = kept_tokens(tokens, *border, at_least(scratch.kept_v, row.n + kSamplingRoom),
                           at_least(scratch.kept_ids, row.n + kSamplingRoom));
      kept_sums(tokens, {}, sums);
      whole = total_of(sums, tokens.n);
    }
  SamplingBorder border;
  if (params.top_p < 1) border = find_border(tokens, nucleus_goal(params.top_p, whole), false, whole).value_or(border);
  if (least > border.low) border = {least, least};
  if (params.typical_p < 1) {
    tokens = cut_to_typical(tokens, border, row, params.typical_p, scratch);
    border = {};
  }
  kept_sums(tokens, border, sums);
  const int64_t total = total_of(sums, tokens.n), target = draw_target(uniform, total);
  int64_t cumulated = 0, block = 0;
  while (cumulated + sums[block] <= target) cumulated += sums[block++];
  for (int64_t i = block * kSamplingBlock;; ++i)
    if (cumulated += border.keeps(tokens.v[i], i) ? static_cast<int64_t>(tokens.v[i]) : 0; cumulated > target)
      return {tokens.id(i), total};
}

}  // namespace

SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform,
                          const SamplingHistory& history) {
  CHECK(1 <= num_valid && num_valid <= static_cast<int64_t>(logits.size()));
  CHECK(params.temperature >= 0 && params.top_k >= 0 && params.top_p >= 0 && params.min_p >= 0 && params.min_p <= 1);
  CHECK(params.typical_p >= 0 && params.typical_p <= 1 && params.repetition_penalty > 0);
  CHECK(uniform >= 0 && uniform < 1);
  const float* raw = logits.data();
  float maximum = 0;
  const float lse = row_log_sum_exp(raw, num_valid, &maximum);
  if (!std::isfinite(lse))
    fail("sampling",
         "a row of logits has no finite log-sum-exp (" + std::to_string(lse) + "); the model's weights or inputs are broken");

  static thread_local Scratch scratch;
  const bool adjusted = params.adjusts_logits();
  SamplingRow row{raw, num_valid, maximum, 0};
  if (adjusted) {
    float* x = at_least(scratch.adjusted, num_valid);
    adjust_logits(logits, num_valid, params, history, x);
    row.x = x;
    row.maximum = row_max(x, num_valid);
  }
  if (!std::isfinite(row.maximum))
    fail("sampling", "bias and penalties take the logits beyond what a number holds; give smaller ones");

  if (params.temperature == 0) {
    const auto best = static_cast<int32_t>(FATHOM_PICK3(sampling_first)(row.x, num_valid, row.maximum));
    return {best, raw[best] - lse, 0};
  }
  row.inverse_temperature = std::min(1.f / params.temperature, 1e30f);  // finite also for a denormal temperature
  const float least =
      params.min_p > 0 ? float_at_least(static_cast<int64_t>(std::ceil(static_cast<double>(params.min_p) * kOne))) : 1.f;
  const bool ranked = (params.top_k > 0 && params.top_k < num_valid) || params.top_p < 1 || params.typical_p < 1;
  const Drawn drawn = ranked ? draw_ranked(row, params, least, uniform, scratch) : draw_plain(row, least, uniform, scratch);
  SampledToken token{drawn.id, raw[drawn.id] - lse, 0};
  if (!ranked && params.min_p == 0 && !adjusted && params.temperature == 1) {
    token.sampling_logp = token.logp;  // one and the same distribution
  } else {
    const double log_total = FATHOM_PICK3(sampling_log)(static_cast<double>(drawn.total) / kOne);
    token.sampling_logp =
        static_cast<float>(static_cast<double>(row.x[drawn.id] - row.maximum) * row.inverse_temperature - log_total);
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
  const auto next = FATHOM_PICK3(sampling_first);
  for (int32_t i = 0; i < num_valid; ++i) {
    if (static_cast<int64_t>(top.size()) == n) {
      i += static_cast<int32_t>(next(logits.data() + i, num_valid - i, top.front().logp));
      if (i == num_valid) break;
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
