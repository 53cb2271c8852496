// A request on its way through the engine.
#pragma once
#include <cstdint>
#include <vector>

#include "infer/block_manager.h"
#include "infer/request.h"

namespace fathom {

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
  Completion completion;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_generated() const { return static_cast<int64_t>(completion.ids.size()); }
};

}  // namespace fathom
