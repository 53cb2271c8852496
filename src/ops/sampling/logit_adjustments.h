// What a request does to the logits before anything is drawn: bias, then the penalties for what the text already holds.
//   logit_bias          x[id] += bias
//   repetition_penalty  ids of the prompt or the answer: x > 0 ? x / penalty : x * penalty (CTRL, arXiv:1909.05858, §4.1)
//   frequency_penalty   x -= penalty * (times that the answer holds the id)
//   presence_penalty    x -= penalty where the answer holds the id
#pragma once
#include "ops/sampling/sampling.h"

namespace fathom {

// adjusted [num_valid] := logits [num_valid] with the above, in that order. Ids at num_valid or above change nothing.
void adjust_logits(std::span<const float> logits, int64_t num_valid, const SamplingParams& params,
                   const SamplingHistory& history, float* adjusted);

}  // namespace fathom
