// The engine: continuous batching over a paged cache with shared prefixes. One thread owns the model and calls this.
// step() = schedule, run, sample, publish. Strict: a request's tokens and log-probabilities do not depend on what else
// runs, on chunking, on pre-emption, on prefix hits or on speculation.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "infer/drafter.h"
#include "infer/prefix_store.h"
#include "infer/request.h"
#include "model/decoder.h"

namespace fathom {

class StepTrace;

// Speculative decoding: a drafter guesses tokens, the step computes their rows too, and those that are what the model draws
// anyway count. Text and log-probabilities are the same bits with it and without.
struct SpeculationConfig {
  enum class Kind : uint8_t { kOff, kNgram, kMtp, kModel };  // off; prompt look-up; the model's MTP module; a draft model
  Kind kind = Kind::kOff;
  int64_t draft_tokens = 0;        // guesses of a sequence in a step, up to kMaxDraft; 0: as many as pay (infer/draft_depth.h)
  Decoder* draft_model = nullptr;  // of kModel; outlives the engine
  // For benchmarks and tests: puts a drafter around the configured one (null where kind is kOff).
  std::function<std::unique_ptr<Drafter>(std::unique_ptr<Drafter>)> wrap;
  bool on() const { return kind != Kind::kOff || wrap; }
};

struct EngineConfig {
  int64_t cache_blocks = 0;  // 0: from cache_bytes
  int64_t cache_bytes = int64_t{1} << 30;
  int64_t max_rows = 512;  // token budget of a step: decode rows first, the rest prefill chunks
  int64_t max_sequences = 256;
  double step_seconds = 0;  // a step in which requests decode gets no more of prompts than its measured cost allows within
                            // this, so that their tokens come that often; 0: up to max_rows
  bool prefix_sharing = true;
  int64_t num_valid = 0;      // tokens that may be drawn: [0, num_valid); 0: all of the vocabulary. Less where the
                              // vocabulary is padded beyond the tokenizer's; logps are normalised over these too
  int64_t max_positions = 0;  // of prompt and new tokens together; 0: the model's max_position_embeddings
  SpeculationConfig speculation = {};
  std::function<double()> clock = {};  // seconds, never back; null: the machine's
  // Whole blocks of finished requests' prompts are kept on disk, and looked for when a request comes; needs prefix_sharing.
  PrefixStoreConfig prefix_store = {};
  StepTrace* trace = nullptr;  // told of every step; outlives the engine
};

struct EngineStats {
  int64_t steps = 0, prefill_rows = 0, decode_rows = 0, prefix_hit_rows = 0, preemptions = 0, peak_blocks = 0;
  int64_t stored_hit_rows = 0;                   // that came from the prefix store; prefix_hit_rows holds those that were used
  int64_t draft_rows = 0;                        // rows for guesses; decode_rows does not hold them
  std::array<int64_t, kMaxDraft> drafted = {};   // guesses that were judged, by position behind the last token: all before
  std::array<int64_t, kMaxDraft> accepted = {};  // were right; and how many of them were right themselves
  int64_t draft_bytes = 0;                       // of weights that the drafter read, counted for one sequence a round
  double draft_seconds = 0;                      // in the drafter
  // The rest of the steps. Deciding what is computed, what of it counts and what ends, with the callbacks; from the token ids
  // to the logits of the rows that draw; from logits to tokens.
  double schedule_seconds = 0, forward_seconds = 0, sample_seconds = 0;
};

class Engine {
 public:
  // The model outlives the engine. The cache is dropped by reset_cache() when the weights change.
  Engine(Decoder& model, const EngineConfig& config);
  ~Engine();
  using TokenCallback = fathom::TokenCallback;
  // Returns the request's id. Throws Error where prompt + max_tokens cannot fit the cache or the model's positions, the prompt
  // is empty or has an id outside of the vocabulary, the deadline is negative. May be called from a TokenCallback, as may
  // cancel().
  uint64_t submit(Request request, TokenCallback on_token = nullptr);
  void cancel(uint64_t id);  // what was generated so far stays in the completion
  bool step();               // false: nothing left to do
  bool finished(uint64_t id) const;
  Completion take(uint64_t id);  // once finished
  // Submits all, steps to the end, returns in order. `on_progress(done_requests, total)` may be null; stop() true ends early.
  std::vector<Completion> generate(std::vector<Request> requests,
                                   const std::function<void(int64_t, int64_t)>& on_progress = nullptr,
                                   const std::function<bool()>& stop = nullptr);
  // Running requests keep their tokens and are computed again. The prefix store is closed: it belongs to the weights of before.
  void reset_cache();
  const EngineStats& stats() const;
  int64_t num_blocks() const;
  int64_t num_used_blocks() const;  // held by running requests
  int64_t num_requests() const;     // submitted and not taken

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
