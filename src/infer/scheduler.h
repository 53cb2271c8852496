// What the next forward computes: continuous batching. A step mixes decode rows (one per running sequence) and chunks of
// prompts, up to max_rows. Pure bookkeeping over the BlockManager; the policy:
//
// Rows. Every sequence that decodes has its row in every step. Prompts have the rows that are left, and with a target for the
// step's seconds no more than its measured cost allows (infer/step_cost.h): a long prompt does not hold up those that decode.
// Turn. Prompts go on, and waiting requests start, in the order of infer/client_queues.h: priority, then the client served
// least, then short before long as far as nobody waits for ever. One that lacks blocks or a place holds up those behind it.
// Rank. Where blocks run out, the running sequence of the lowest priority, of these the youngest, gives its own back and is
// computed again later; its tokens stay. The first in turn that has a higher priority than one that runs, or whose client runs
// nothing where another runs two, takes the place and the blocks of those last in rank, if that is enough to start.
// Deadlines. What is past its deadline leaves before the step. A prompt that half of its measured time would carry beyond is
// not started.
// Sharing. A sequence starts behind what the tree holds of its prompt; one whose prompt another sequence is computing now
// waits for it; equal prompts (a GRPO group) are computed once and all sample from the one last row.
// Speculation. A decoding sequence may have rows for guessed tokens behind its last one (Sequence::draft_wanted), as long as
// rows and blocks are left that nobody else needs: guesses pre-empt nobody. Only what came true reaches the tree.
//
// No deadlock. The running sequence first in rank (priority, age) is pre-empted only for one before it in rank: blocks are
// taken from the last, a place from one of lower priority or from a client that keeps an older one. It finds its blocks in the
// end, because the others are pre-empted or finish, and nobody is admitted while a running sequence lacks blocks. It needs at
// most ceil((prompt + max_tokens) / 64), which submit() has checked against the cache. So it finishes unless one before it in
// rank starts, and of n requests that happens at most n - 1 times before one finishes. Where nothing runs, the first in turn
// starts.
#pragma once
#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "infer/client_queues.h"
#include "infer/sequence.h"
#include "infer/step_cost.h"

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
  std::vector<Sequence*> expired;  // out of the scheduler: past their deadline, or sure to be before their first token
  int64_t num_rows = 0;
  std::vector<uint64_t> preempted;  // requests that gave their blocks back
  int64_t prefill_rows = 0, decode_rows = 0, draft_rows = 0, prefix_hit_rows = 0;
};

class Scheduler {
 public:
  // A step with decode rows shall not take longer than target_seconds (0: as long as max_rows take), see record_step().
  Scheduler(BlockManager& blocks, int64_t max_rows, int64_t max_sequences, double target_seconds = 0);
  void add(Sequence* sequence);
  // Takes the sequence out, whatever it is doing; its computed blocks stay in the tree.
  void remove(Sequence* sequence);
  // At `now`, on the clock of Sequence::deadline. No rows: nothing is left to do. The caller may shorten rows by guesses, see
  // Rows.
  StepPlan& plan(double now = 0);
  // After the forward of plan(): the rows are in the cache, and the tokens of guesses that came true are appended.
  void commit();
  // How long a step with so many rows took, those of guesses among the decode rows.
  void record_step(int64_t decode_rows, int64_t prefill_rows, double seconds) {
    cost_.record(decode_rows, prefill_rows, seconds);
  }
  void preempt_all();  // the cache became worthless: every running sequence is computed again
  bool idle() const { return num_waiting_ == 0 && running_.empty(); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  struct ByRank {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  using Running = std::set<Sequence*, ByRank>;
  const Running& running() const { return running_; }
  const StepCost& cost() const { return cost_; }

 private:
  struct InFlight {
    int32_t node;                     // the tokens continue this node of the tree
    std::span<const int32_t> tokens;  // being computed in this step
  };

  void expire(Sequence* sequence);
  void take_place();
  bool fits(const Sequence* sequence, const BlockManager::Match& match, int64_t places, int64_t blocks) const;
  void plan_decodes();
  void plan_prompts();
  void plan_prefill(Sequence* sequence);
  bool admit(Sequence* sequence);
  int64_t draft_room(const Sequence* sequence) const;
  bool plan_rows(Sequence* sequence, int64_t rows_kept = 0);
  bool being_computed(int32_t node, std::span<const int32_t> tokens, int64_t have) const;
  bool equals_prefilling(const Sequence* sequence) const;
  void admit_followers(Sequence* leader);
  void start(Sequence* sequence);
  void preempt(Sequence* sequence);
  void stop(Sequence* sequence);
  int64_t outstanding_blocks() const;
  int64_t rows_left() const { return row_limit_ - plan_.num_rows; }

  BlockManager& blocks_;
  const int64_t max_rows_, max_running_;
  const double target_seconds_;
  StepCost cost_;
  ClientQueues queues_;
  int64_t num_waiting_ = 0;
  Running running_;
  std::set<std::pair<double, Sequence*>> deadlines_;
  std::vector<InFlight> in_flight_;
  std::vector<const Sequence*> prefilling_;  // running, not yet at their last row when the step began
  StepPlan plan_;
  Sequence* taker_ = nullptr;  // was given the place of others: starts first
  double now_ = 0;
  int64_t row_limit_ = 0;  // of the step: max_rows, once the decode rows are planned less where the target says so
  bool short_of_blocks_ = false;
};

}  // namespace fathom
