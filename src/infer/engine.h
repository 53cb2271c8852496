// The engine: continuous batching over a paged cache with shared prefixes. One thread owns the model.
// step() = schedule, run, sample, publish. Strict: a request's tokens and log-probabilities do not depend on what else
// runs, on chunking, or on prefix hits.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "ops/sampling/sampling.h"

namespace fathom {

struct EngineConfig {
  int64_t cache_blocks = 0;          // 0: from cache_bytes
  int64_t cache_bytes = int64_t{1} << 30;
  int64_t max_rows = 512;            // token budget of a step: decode rows first, the rest prefill chunks
  int64_t max_sequences = 256;
  bool prefix_sharing = true;
};

struct Request {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_ids;     // end of sequence; the stop token is part of the result (it is in the loss mask too)
  // The draw of token n is Philox(seed, kSample, step, sequence, n): nothing else decides it.
  uint64_t seed = 0, step = 0, sequence = 0;
};
enum class FinishReason : uint8_t { kStop, kLength, kCancelled };
struct Completion {
  std::vector<int32_t> ids;
  std::vector<float> logps;          // under softmax(logits): the trainer's log-probability
  std::vector<float> sampling_logps; // under the distribution drawn from
  FinishReason reason = FinishReason::kLength;
};

struct EngineStats {
  int64_t steps = 0, prefill_rows = 0, decode_rows = 0, prefix_hit_rows = 0, preemptions = 0, peak_blocks = 0;
};

class Engine {
 public:
  // The model outlives the engine. The cache is dropped by reset_cache() when the weights change.
  Engine(Decoder& model, const EngineConfig& config);
  ~Engine();
  using TokenCallback = std::function<void(int32_t id, float logp)>;
  // Returns the request's id. Throws Error where prompt + max_tokens cannot fit the cache or the prompt is empty.
  uint64_t submit(Request request, TokenCallback on_token = nullptr);
  void cancel(uint64_t id);
  bool step();                              // false: nothing left to do
  bool finished(uint64_t id) const;
  Completion take(uint64_t id);             // once finished
  // Submits all, steps to the end, returns in order. `on_progress(done_requests, total)` may be null; stop() true ends early.
  std::vector<Completion> generate(std::vector<Request> requests, const std::function<void(int64_t, int64_t)>& on_progress = nullptr,
                                   const std::function<bool()>& stop = nullptr);
  void reset_cache();
  const EngineStats& stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
