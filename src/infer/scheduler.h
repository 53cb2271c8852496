// What the next forward computes: continuous batching. A step mixes decode rows (one per running sequence) and chunks of
// prompts, up to max_rows. First come, first served; a sequence that cannot get a block pre-empts the youngest one, which
// gives its blocks back and is computed again later (its tokens stay). Pure bookkeeping over the BlockManager.
//
// Sharing: a sequence starts behind what the tree holds of its prompt; one whose prompt another sequence is computing now
// waits for it; equal prompts (a GRPO group) are computed once and all sample from the one last row.
//
// No deadlock: the oldest running sequence is never pre-empted and always finds its blocks in the end, because younger
// ones are pre-empted or finish, and nobody is admitted while a running sequence lacks blocks. It needs at most
// ceil((prompt + max_tokens) / 64) blocks, which submit() has checked against the cache.
//
// Speculation: a decoding sequence may have rows for guessed tokens behind its last one (Sequence::draft_wanted), as long as
// rows and blocks are left that nobody else needs: guesses pre-empt nobody. Only what came true reaches the tree.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "infer/sequence.h"

namespace fathom {

struct StepPlan {
  struct Rows {
    Sequence* sequence;
    int64_t begin, end;     // positions; after the forward, the caller takes the guesses off `end` that did not come true
    int64_t num_draft = 0;  // of them the last ones are for guesses; the caller takes those off `end` that it does not make
    bool last = false;      // the sequence's last token is among them: its row, and those of guesses, give new tokens
    bool prefill = false;
  };
  struct Sample {
    Sequence* sequence;
    int64_t rows_idx;  // which of `rows`: the logits from its last token on give the sequence's next tokens
    Sequence* leader;  // who computed the row: the sequence itself, or the one with equal tokens whose blocks it will share
  };
  std::vector<BlockCopy> copies;  // before the forward, in order
  std::vector<Rows> rows;
  std::vector<Sample> samples;
  int64_t num_rows = 0;
  int64_t prefill_rows = 0, decode_rows = 0, draft_rows = 0, prefix_hit_rows = 0, preemptions = 0;
};

class Scheduler {
 public:
  Scheduler(BlockManager& blocks, int64_t max_rows, int64_t max_sequences);
  void add(Sequence* sequence);
  // Takes the sequence out, whatever it is doing; its computed blocks stay in the tree.
  void remove(Sequence* sequence);
  // Empty: nothing is left to do. The caller may shorten rows by guesses, see Rows.
  StepPlan& plan();
  // After the forward of plan(): the rows are in the cache, and the tokens of guesses that came true are appended.
  void commit();
  void preempt_all();  // the cache became worthless: every running sequence is computed again
  bool idle() const { return waiting_.empty() && running_.empty(); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  const std::map<uint64_t, Sequence*>& running() const { return running_; }

 private:
  struct InFlight {
    int32_t node;                     // the tokens continue this node of the tree
    std::span<const int32_t> tokens;  // being computed in this step
  };

  void plan_decodes();
  void plan_prefills();
  void plan_admissions();
  bool plan_prefill(Sequence* sequence);
  int64_t draft_room(const Sequence* sequence) const;
  bool plan_rows(Sequence* sequence, int64_t rows_kept = 0);
  bool being_computed(int32_t node, std::span<const int32_t> tokens, int64_t have) const;
  bool equals_prefilling(const Sequence* sequence) const;
  void admit_followers(Sequence* leader, int64_t rows_idx);
  void start(Sequence* sequence);
  void preempt(Sequence* sequence);
  void give_back(Sequence* sequence);
  int64_t outstanding_blocks() const;
  int64_t rows_left() const { return max_rows_ - plan_.num_rows; }

  BlockManager& blocks_;
  const int64_t max_rows_, max_running_;
  std::map<uint64_t, Sequence*> waiting_, running_;  // by arrival
  std::vector<InFlight> in_flight_;
  std::vector<const Sequence*> prefilling_;  // running, not yet at their last row when the step began
  StepPlan plan_;
  bool short_of_blocks_ = false;
};

}  // namespace fathom
