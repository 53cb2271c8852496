// From a row of logits to a token. Order: temperature, then top-k, top-p and min-p, each on what the one before it left,
// renormalised. Temperature 0 is arg-max. The draw uses one Philox number keyed by the caller.
//
// Exactly: a token's weight is w = floor(2^40 exp((logit - largest) / temperature)), a whole number, so that all sums below are
// exact and free of order. "Better" means larger weight, on ties the lower id.
//   top_k   keeps the k best (never more, also on ties)
//   top_p   keeps the shortest run of the best whose sum reaches top_p x (sum of what top-k left); at least one token
//   min_p   keeps those with w >= min_p x (largest w)
//   draw    kept tokens in the order of their ids; the first whose cumulated weight exceeds uniform x total
// What is off (top_k 0, top_p 1, min_p 0) changes nothing. Weights below 2^-40 of the largest are never drawn.
// A row without a finite largest logit, or with a NaN, is an Error.
#pragma once
#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace fathom {

struct SamplingParams {
  float temperature = 1.f;
  int32_t top_k = 0;  // 0: off
  float top_p = 1.f;  // 1: off
  float min_p = 0.f;  // 0: off
};
struct SampledToken {
  int32_t id = 0;
  float logp = 0;           // log-probability under softmax(logits): temperature 1, no truncation (the trainer's)
  float sampling_logp = 0;  // under the distribution drawn from (tempered, truncated, renormalised)
};
// logits [V] f32 (num_valid of them may be drawn); uniform in [0, 1).
SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform);

}  // namespace fathom
