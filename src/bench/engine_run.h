// What the engine's benchmarks share: random prompts, requests run from their first tokens on, the bytes of a step, limits.
#pragma once
#include <cstdint>
#include <vector>

#include "infer/engine.h"
#include "model/decoder.h"

namespace fathom {

// Error where so many positions are more than the model's.
void check_bench_positions(const ModelConfig& config, int64_t positions);

double median(std::vector<double> values);  // of at least one
std::vector<int32_t> random_ids(const Decoder& model, int64_t n, uint64_t stream);
int64_t bench_blocks(int64_t positions);  // cache blocks of a sequence of so many positions, and one more
// What the linear layers' products cannot exceed, 10^12 operations a second.
double linear_peak(const Decoder& model);

// Decoding of a batch: from the step that gave the last of them its first token, to the end of all.
struct EngineRun {
  std::vector<Completion> completions;
  double seconds = 0;
  int64_t steps = 0, tokens = 0;
  ExpertReads reads;
  EngineStats begin, end;
};
EngineRun run_requests(Decoder& model, Engine& engine, const std::vector<Request>& requests);

// Error where ids or log-probabilities differ in a bit: `what` has changed what a request gives.
void check_same(const Completion& a, const Completion& b, const char* what);

// Bytes of weights that a step reads whatever its rows are: all but the experts, whose reads were counted.
double dense_weight_bytes(const Decoder& model, const ExpertReads& reads);
// Of keys and values that `positions` take over all layers of the model (not the MTP module's).
double cache_bytes(const Decoder& model, double positions);

}  // namespace fathom
