// Guesses from a small model of the same vocabulary, with a cache of its own. What it has computed of a sequence is known by
// its tokens, so that wrong guesses, pre-emption and pauses need no bookkeeping: the longest common beginning stays.
#pragma once
#include <unordered_map>
#include <vector>

#include "infer/block_manager.h"
#include "infer/drafter.h"
#include "model/decoder.h"

namespace fathom {

class ModelDrafter : public Drafter {
 public:
  // Error where the model's vocabulary is smaller than num_valid. The model outlives this. A sequence for which the
  // `num_blocks` of the cache do not suffice gets no guess.
  ModelDrafter(Decoder& model, int64_t num_blocks, int64_t num_valid);
  void draft(std::span<const DraftJob> jobs) override;
  void forget(const Sequence& sequence) override;
  int64_t bytes_per_draft() const override { return model_.weight_bytes_per_token(); }
  int64_t num_used_blocks() const { return blocks_.num_used(); }

 private:
  struct State {
    std::vector<int32_t> cached;  // tokens whose keys and values are in the cache
    BlockTable table;
    uint64_t last_use = 0;
  };
  bool make_room(State& state, int64_t begin, int64_t end);
  void catch_up(State& state, const std::vector<int32_t>& tokens);

  Decoder& model_;
  KvCache cache_;
  BlockManager blocks_;
  int64_t num_valid_;
  uint64_t clock_ = 0;
  std::unordered_map<uint64_t, State> states_;  // by sequence
};

}  // namespace fathom
