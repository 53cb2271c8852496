#include "ops/sampling/logit_adjustments.h"

#include <algorithm>
#include <vector>

namespace fathom {

void adjust_logits(std::span<const float> logits, int64_t num_valid, const SamplingParams& params,
                   const SamplingHistory& history, float* x) {
  std::copy_n(logits.data(), num_valid, x);
  for (const TokenBias& b : params.logit_bias)
    if (b.id < num_valid) x[b.id] += b.bias;
  if (params.repetition_penalty == 1 && params.frequency_penalty == 0 && params.presence_penalty == 0) return;

  // All zero between two calls: what a call sets it clears, so that its cost is the history's and not the vocabulary's.
  static thread_local std::vector<int32_t> count;
  static thread_local std::vector<uint8_t> seen;
  if (static_cast<int64_t>(count.size()) < num_valid) count.resize(num_valid), seen.resize(num_valid);
  const auto each = [&](std::span<const int32_t> ids, auto&& fn) {
    for (const int32_t id : ids)
      if (id < num_valid) fn(id);
  };
  if (params.repetition_penalty != 1) {
    const auto repeat = [&](int32_t id) {
      if (seen[id]) return;
      seen[id] = 1;
      x[id] = x[id] > 0 ? x[id] / params.repetition_penalty : x[id] * params.repetition_penalty;
    };
    each(history.prompt, repeat);
    each(history.generated, repeat);
    const auto clear = [&](int32_t id) { seen[id] = 0; };
    each(history.prompt, clear);
    each(history.generated, clear);
  }
  each(history.generated, [&](int32_t id) { ++count[id]; });
  each(history.generated, [&](int32_t id) {
    if (count[id] == 0) return;  // done
    x[id] -= params.frequency_penalty * static_cast<float>(count[id]) + params.presence_penalty;
    count[id] = 0;
  });
}

}  // namespace fathom
