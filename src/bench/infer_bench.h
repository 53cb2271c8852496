// Prefill and decode of one sequence through the Engine, as a user gets them: scheduling, paged cache, sampling (greedy).
// Rates are set beside what the machine can do (backend/cpu/peak.h), measured in the same process.
//   prefill  from submit to the first token, `depth` tokens of the prompt being in the cache already: a shared prefix, of
//            whole blocks of 64
//   decode   one token after another behind `depth` tokens (at 0: behind one)
#pragma once
#include <cstdint>

#include "model/decoder.h"

namespace fathom {

struct InferBenchRow {
  bool decode = false;
  int64_t tokens = 0, depth = 0;
  int runs = 0;
  double tokens_per_s = 0, spread = 0;  // median of the runs; (fastest - slowest) / median
  // Products of the model (in prefill the head for one row) and of attention in its expanded form, whichever form computes it.
  double tera_flops = 0, peak_share = 0;
  // Decode: bytes of weights and cache that a token reads (Decoder::weight_bytes_per_token, cache at the mean depth).
  double bytes_per_token = 0, cache_bytes_per_token = 0, gb_per_s = 0, bandwidth_share = 0;
  double others = 0;  // share of the processors' time that other processes took meanwhile
};

// One run more than `runs` is made and not counted. Depth and tokens together: see check_bench_positions (bench/engine_run.h).
InferBenchRow bench_prefill(Decoder& model, int64_t tokens, int64_t depth, int runs);
InferBenchRow bench_decode(Decoder& model, int64_t tokens, int64_t depth, int runs);

}  // namespace fathom
