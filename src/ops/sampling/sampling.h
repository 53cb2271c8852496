// From a row of logits to a token. Order: temperature, then top-k, top-p and min-p on the tempered distribution.
// Temperature 0 is arg-max (lowest index on ties). The draw uses one Philox number keyed by the caller.
#pragma once
#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace fathom {

struct SamplingParams {
  float temperature = 1.f;
  int32_t top_k = 0;      // 0: off
  float top_p = 1.f;      // 1: off
  float min_p = 0.f;      // 0: off
};
struct SampledToken {
  int32_t id = 0;
  float logp = 0;          // log-probability under softmax(logits): temperature 1, no truncation (the trainer's)
  float sampling_logp = 0; // under the distribution drawn from (tempered, truncated, renormalised)
};
// logits [V] f32 (num_valid of them may be drawn); uniform in [0, 1).
SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform);

}  // namespace fathom
