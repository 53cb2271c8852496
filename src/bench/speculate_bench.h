// Decoding with speculation beside decoding without, in turns, over the same requests; and the gain that the bytes allow: a
// step with guesses reads the dense weights once, the experts that its rows touch, and what the drafter reads.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "infer/engine.h"

namespace fathom {

struct SpeculateBenchOptions {
  SpeculationConfig speculation;  // without wrap
  double force_acceptance = -1;  // each guess is right with this probability, whatever the drafter says; < 0: the drafter's own
  std::vector<int32_t> prompt;   // empty: random ids, prompt_tokens of them, others in each sequence and run
  int64_t prompt_tokens = 64, tokens = 128, batch = 1;
  float temperature = 0;
  int64_t num_valid = 0;  // see EngineConfig
  int runs = 5;
};

struct SpeculateBenchResult {
  double plain_tokens_per_s = 0, tokens_per_s = 0;               // medians, of decoding: from the prompts' own tokens on
  double gain = 0, least_gain = 0, most_gain = 0;                // of a pair of runs: median, extremes
  double allowed_gain = 0;                                       // if time were bytes
  double tokens_per_step = 0;                                    // of a sequence
  double plain_step_bytes = 0, step_bytes = 0, draft_bytes = 0;  // weights and cache of a step; the drafter's, beside them
  double plain_experts = 0, experts = 0;                         // touched in a step, over all layers
  double draft_share = 0;                                        // of the time, in the drafter
  std::array<int64_t, kMaxDraft> drafted = {}, accepted = {};
  double others = 0;  // share of the processors' time that other processes took meanwhile
};

// One pair of runs more is made and not counted. Error where speculation changes an id or a log-probability.
SpeculateBenchResult bench_speculate(Decoder& model, const SpeculateBenchOptions& options);

}  // namespace fathom
