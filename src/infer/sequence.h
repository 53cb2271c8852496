// A request on its way through the engine.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "infer/block_manager.h"
#include "infer/request.h"

namespace fathom {

struct Client;

struct Sequence {
  enum class State : uint8_t { kWaiting, kRunning, kFinished };

  uint64_t id = 0;  // in order of arrival
  Request request;
  TokenCallback on_token;
  std::vector<int32_t> tokens;  // the prompt, then what was generated
  int64_t num_computed = 0;     // positions whose keys and values are in the cache
  BlockTable table;
  State state = State::kWaiting;
  bool prefilling = false;  // running, and nothing sampled since it was (re)started
  bool following = false;   // of this step: samples from the last row of an equal prompt
  bool cancelled = false;   // inside of a step: nothing more is published
  Completion completion;

  Client* client = nullptr;  // infer/client_queues.h
  int64_t turn = 0;
  double deadline = std::numeric_limits<double>::infinity();  // on the clock that the scheduler is told

  // Speculation. Guesses of the tokens behind `tokens`: their rows are computed in this step, and stay where they come true.
  int64_t draft_wanted = 0;  // for the next step: at most so many; 0 unless decoding
  std::vector<int32_t> draft;
  float acceptance = 0;           // of its guesses so far: a moving mean over
  float acceptance_evidence = 0;  // so many of them

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_generated() const { return static_cast<int64_t>(completion.ids.size()); }
  // What the penalties look at where the token behind the first `ahead` guesses is drawn: guesses that come true stand before
  // it. `room` holds the answer where it has guesses, and outlives what is returned.
  SamplingHistory history(int64_t ahead, std::vector<int32_t>& room) const {
    const SamplingHistory plain{request.prompt, completion.ids};
    if (ahead == 0 || !request.sampling.adjusts_logits()) return plain;
    room = completion.ids;
    room.insert(room.end(), draft.begin(), draft.begin() + ahead);
    return {request.prompt, room};
  }
  // The random number in [0, 1) that draws the n-th generated token, whoever draws it: the model, or a drafter that guesses.
  float uniform(int64_t n) const {
    return Rng(request.seed, RngStream::kSample, request.step, request.sequence, static_cast<uint64_t>(n)).next_float();
  }
};

}  // namespace fathom
