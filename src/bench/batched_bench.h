// Decoding of many sequences at once through the Engine, and how far the machine would let it go: a step reads the dense
// weights and each expert that has rows once, and each sequence's cache.
#pragma once
#include <cstdint>

#include "model/decoder.h"
#include "ops/sampling/sampling.h"

namespace fathom {

struct BatchedBenchOptions {
  int64_t prompt_tokens = 128;  // of each sequence, random and its own
  int64_t depth = 0;            // tokens before them that all sequences share, rounded down to whole blocks of 64
  int64_t tokens = 48;          // decoded by each
  int runs = 3;
  SamplingParams sampling = {.temperature = 0};  // of all; sequence i draws with its own random numbers
};

struct BatchedBenchRow {
  int64_t batch = 0, depth = 0;
  int runs = 0;
  double prompt_tokens_per_s = 0;  // of all prompts together, the shared depth being there
  double tokens_per_s = 0, spread = 0, step_s = 0;
  // Products of the model and of attention in its expanded form.
  double tera_flops = 0, peak_share = 0;
  // Weights of a step, experts by count, and the cache of each sequence; what is shared is counted once.
  double step_bytes = 0, step_experts = 0, gb_per_s = 0, bandwidth_share = 0;
  double allowed_tokens_per_s = 0, allowed_share = 0;  // by arithmetic or by bandwidth, whichever gives less
  bool memory_bound = false;                           // the latter
  double schedule_share = 0, sample_share = 0;         // of a step: EngineStats::schedule_seconds, sample_seconds
  double others = 0;                                   // share of the processors' time that other processes took meanwhile
};

// One run more than `runs` is made and not counted. Positions: see check_bench_positions (bench/engine_run.h).
BatchedBenchRow bench_batched(Decoder& model, int64_t batch, const BatchedBenchOptions& options);

}  // namespace fathom
