#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/log_sum_exp.h"
#include "kernels/rungs.h"
#include "ops/sampling/sampling_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kOne = int64_t{1} << 40;  // the weight of the best token

struct Candidate {
  int64_t weight;
  int32_t id;
};
bool better(const Candidate& a, const Candidate& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; }

using Candidates = std::vector<Candidate>;  // always in the order of the ids

int64_t total_weight(const Candidates& c) {
  int64_t sum = 0;
  for (const Candidate& x : c) sum += x.weight;
  return sum;
}
// Drops all that is worse than `last`.
void keep_until(Candidates& c, const Candidate& last) {
  std::erase_if(c, [&](const Candidate& x) { return better(last, x); });
}

void keep_top_k(Candidates& c, int64_t k) {
  if (k >= static_cast<int64_t>(c.size())) return;
  Candidates order = c;
  std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), better);
  keep_until(c, order[k - 1]);
}

// The border of the nucleus by quickselect: only the side in which the cumulated weight crosses `goal` is looked at again.
void keep_top_p(Candidates& c, double top_p) {
  const double total = static_cast<double>(total_weight(c));
  const int64_t goal = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(top_p * total)));
  Candidates order = c;
  size_t begin = 0, end = order.size();
  int64_t before = 0;  // weight of everything better than order[begin, end)
  while (end - begin > 1) {
    const size_t middle = begin + (end - begin) / 2;  // order[begin, middle) are better than the rest
    std::nth_element(order.begin() + begin, order.begin() + middle, order.begin() + end, better);
    int64_t half = 0;
    for (size_t i = begin; i < middle; ++i) half += order[i].weight;
    if (before + half >= goal) {
      end = middle;
    } else {
      before += half;
      begin = middle;
    }
  }
  keep_until(c, order[begin]);
}

int32_t arg_max(const float* x, int64_t n, float maximum) {
  for (int64_t i = 0; i < n; ++i)
    if (x[i] == maximum) return static_cast<int32_t>(i);
  return -1;
}

}  // namespace

SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform) {
  CHECK(1 <= num_valid && num_valid <= static_cast<int64_t>(logits.size()));
  CHECK(params.temperature >= 0 && params.top_k >= 0 && params.top_p >= 0 && params.min_p >= 0 && params.min_p <= 1);
  CHECK(uniform >= 0 && uniform < 1);
  const float* x = logits.data();
  const float lse = row_log_sum_exp(x, num_valid), maximum = row_max(x, num_valid);
  if (!std::isfinite(lse))
    fail("sampling",
         "a row of logits has no finite log-sum-exp (" + std::to_string(lse) + "); the model's weights or inputs are broken");

  SampledToken token;
  if (params.temperature == 0) {
    token.id = arg_max(x, num_valid, maximum);
    token.logp = x[token.id] - lse;
    token.sampling_logp = 0;
    return token;
  }
  const float inverse_temperature = std::min(1.f / params.temperature, 1e30f);  // finite also for a denormal temperature
  std::vector<int64_t> weights(num_valid);
  FATHOM_PICK3(sampling_weights)(x, num_valid, maximum, inverse_temperature, weights.data());

  // min_p is relative to the best token, which the other two keep: it may come first, and leaves less to select from. But top_p
  // reaches its share of what top-k left, min_p or not.
  const bool truncated = (params.top_k > 0 && params.top_k < num_valid) || params.top_p < 1 || params.min_p > 0;
  Candidates kept;
  kept.reserve(num_valid);
  for (int64_t i = 0; i < num_valid; ++i)
    if (weights[i] > 0) kept.push_back({weights[i], static_cast<int32_t>(i)});
  if (params.top_k > 0) keep_top_k(kept, params.top_k);
  if (params.top_p < 1) keep_top_p(kept, params.top_p);
  if (params.min_p > 0) {
    const int64_t least = static_cast<int64_t>(std::ceil(static_cast<double>(params.min_p) * kOne));
    std::erase_if(kept, [&](const Candidate& c) { return c.weight < least; });
  }

  const int64_t total = total_weight(kept);
  const int64_t target = static_cast<int64_t>(
      (static_cast<unsigned __int128>(total) * static_cast<uint64_t>(static_cast<double>(uniform) * 0x1p53)) >> 53);
  int64_t cumulated = 0;
  for (const Candidate& c : kept) {
    token.id = c.id;
    cumulated += c.weight;
    if (cumulated > target) break;
  }
  token.logp = x[token.id] - lse;
  if (!truncated && params.temperature == 1) {
    token.sampling_logp = token.logp;  // one and the same distribution
  } else {
    const double log_total = FATHOM_PICK3(sampling_log)(static_cast<double>(total) * 0x1p-40);
    token.sampling_logp = static_cast<float>(static_cast<double>(x[token.id] - maximum) * inverse_temperature - log_total);
  }
  return token;
}

}  // namespace fathom
