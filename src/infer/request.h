// What goes into the engine and what comes out.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ops/sampling/sampling.h"

namespace fathom {

struct Request {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_ids;  // end of sequence; the stop token is part of the result (it is in the loss mask too)
  // The draw of token n is Philox(seed, kSample, step, sequence, n): nothing else decides it.
  uint64_t seed = 0, step = 0, sequence = 0;
  int64_t top_logprobs = 0;  // so many of the likeliest tokens at every position are returned too: top_log_probs()
  // When it runs, not what it gives (infer/scheduler.h):
  std::string client;           // who asks; clients share the engine
  int32_t priority = 0;         // the higher goes first
  double deadline_seconds = 0;  // from submit() on; what it has by then is the result. 0: none

  bool stops_at(int32_t id) const { return std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end(); }
};
// Error (usage) that names the field: an empty prompt, ids outside of the vocabulary, sampling beyond sampling_fields(), a
// negative deadline.
void check_request(const Request& request, int64_t vocab_size);

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kDeadline };
struct Completion {
  std::vector<int32_t> ids;
  std::vector<float> logps;                          // under softmax(logits): the trainer's log-probability
  std::vector<float> sampling_logps;                 // under the distribution drawn from
  std::vector<std::vector<TokenLogp>> top_logprobs;  // by token, best first; empty unless asked for
  FinishReason reason = FinishReason::kLength;
};
using TokenCallback = std::function<void(int32_t id, float logp)>;

}  // namespace fathom
