// From a row of logits to a token. Order: bias and penalties (logit_adjustments.h), temperature, then top-k, top-p, min-p and
// typical-p, each on what the one before it left, renormalised. Temperature 0 is arg-max. The draw uses one Philox number keyed
// by the caller.
//
// Exactly: a token's weight is w = floor(2^40 exp((logit - largest) / temperature)), a whole number, so that all sums below are
// exact and free of order. "Better" means larger weight, on ties the lower id.
//   top_k   keeps the k best (never more, also on ties)
//   top_p   keeps the shortest run of the best whose sum reaches top_p x (sum of what top-k left); at least one token
//   min_p   keeps those with w >= min_p x (largest w)
//   typical_p  keeps the shortest run of those whose information lies nearest to the entropy (typical.h)
//   draw    kept tokens in the order of their ids; the first whose cumulated weight exceeds uniform x total
// Found by histograms: the vocabulary is never sorted. What is off (top_k 0, top_p 1, …) changes nothing, not a bit. Weights
// below 2^-40 of the largest are never drawn. A row without a finite largest logit, or with a NaN, is an Error.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

struct TokenBias {
  int32_t id = 0;
  float bias = 0;
};
struct SamplingParams {
  float temperature = 1.f;
  int32_t top_k = 0;                                      // 0: off
  float top_p = 1.f;                                      // 1: off
  float min_p = 0.f;                                      // 0: off
  float typical_p = 1.f;                                  // 1: off
  float repetition_penalty = 1.f;                         // 1: off; above 0
  float presence_penalty = 0.f, frequency_penalty = 0.f;  // 0: off
  std::vector<TokenBias> logit_bias = {};                 // finite
  bool adjusts_logits() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0 || !logit_bias.empty();
  }
};
// What the text holds so far: what the penalties look at.
struct SamplingHistory {
  std::span<const int32_t> prompt = {}, generated = {};
};
struct SampledToken {
  int32_t id = 0;
  float logp = 0;           // log-probability under softmax(logits): temperature 1, no truncation (the trainer's)
  float sampling_logp = 0;  // under the distribution drawn from (adjusted, tempered, truncated, renormalised)
};
// logits [V] f32 (num_valid of them may be drawn); uniform in [0, 1).
SampledToken sample_token(std::span<const float> logits, int64_t num_valid, const SamplingParams& params, float uniform,
                          const SamplingHistory& history = {});

struct TokenLogp {
  int32_t id = 0;
  float logp = 0;
};
// The n likeliest of num_valid tokens under softmax(logits), best first, on ties the lower id; all where there are fewer.
// logp: the same bits as SampledToken::logp. No sort of the vocabulary.
std::vector<TokenLogp> top_log_probs(std::span<const float> logits, int64_t num_valid, int64_t n);

}  // namespace fathom
