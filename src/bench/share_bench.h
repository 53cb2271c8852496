// Many answers to one prompt: what the engine computes, keeps and reads once. Beside it, in turns, step after step, the same
// answers by an engine that shares nothing; and a long prompt that is found in the cache.
#pragma once
#include <cstdint>

#include "model/decoder.h"

namespace fathom {

struct ShareBenchOptions {
  int64_t answers = 16, prompt_tokens = 2048, tokens = 256;  // of each answer, drawn at temperature 1
  bool compare = true;        // with an engine that shares nothing: it computes the prompt for each answer
  int64_t hit_tokens = 8192;  // of the prompt that is found; 0: none
  int runs = 5;               // of the hit
};

struct ShareBenchResult {
  int64_t prompt_rows = 0;  // computed: prompt_tokens where the prompt was computed once
  double prompt_s = 0;      // to the last answer's first token
  double tokens_per_s = 0, step_s = 0;
  // Peak of what running requests hold, of whole blocks; the positions of the prompt and of all answers by themselves.
  double peak_cache_bytes = 0, needed_cache_bytes = 0;
  // Without sharing: medians of steps, and of the ratios of steps that were made in turn.
  double alone_tokens_per_s = 0, alone_peak_cache_bytes = 0, gain = 0;
  double step_bytes = 0, alone_step_bytes = 0;  // weights and cache that a step reads; shared blocks once, or for each answer
  // The prompt of hit_tokens in the cache and one token more: to the first token, and a decode step behind it.
  double hit_s = 0, hit_step_s = 0;
  double others = 0;  // share of the processors' time that other processes took meanwhile
};

// Error where sharing changes an id or a log-probability. Positions: see check_bench_positions (bench/engine_run.h).
ShareBenchResult bench_share(Decoder& model, const ShareBenchOptions& options);

}  // namespace fathom
