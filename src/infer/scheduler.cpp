#include "infer/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int kLookAhead = 1024;  // waiting sequences that a step looks at: bounds the cost of a step

int64_t blocks_of(int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock; }

// Blocks that a running sequence will ask for before it can sample and go on for a while.
int64_t demand(const Sequence& sequence) {
  if (sequence.table.blocks.empty()) return 1;  // a follower: the copy of the shared last block
  return blocks_of(sequence.num_tokens() + kKeyBlock) - static_cast<int64_t>(sequence.table.blocks.size());
}

}  // namespace

Scheduler::Scheduler(BlockManager& blocks, int64_t max_rows, int64_t max_sequences)
    : blocks_(blocks),
      max_rows_(max_rows),
      max_running_(std::min(max_rows, max_sequences)) {  // so that every running sequence can have a row in every step
  CHECK(max_rows > 0 && max_sequences > 0);
}

void Scheduler::add(Sequence* sequence) {
  sequence->state = Sequence::State::kWaiting;
  CHECK(waiting_.emplace(sequence->id, sequence).second);
}

void Scheduler::remove(Sequence* sequence) {
  if (running_.erase(sequence->id) > 0) give_back(sequence);
  waiting_.erase(sequence->id);
  sequence->state = Sequence::State::kFinished;
}

void Scheduler::give_back(Sequence* sequence) {
  blocks_.commit(sequence->table, sequence->tokens, sequence->num_computed, /*tail=*/true);
  blocks_.release(sequence->table);
  sequence->num_computed = 0;
  sequence->draft_wanted = 0;
}

void Scheduler::preempt(Sequence* sequence) {
  CHECK(running_.erase(sequence->id) == 1);
  give_back(sequence);
  add(sequence);
  ++plan_.preemptions;
}

void Scheduler::preempt_all() {
  while (!running_.empty()) preempt(running_.begin()->second);
}

void Scheduler::start(Sequence* sequence) {
  waiting_.erase(sequence->id);
  running_.emplace(sequence->id, sequence);
  sequence->state = Sequence::State::kRunning;
  sequence->prefilling = true;
}

int64_t Scheduler::outstanding_blocks() const {
  int64_t sum = 0;
  for (const auto& [id, sequence] : running_) sum += demand(*sequence);
  return sum;
}

StepPlan& Scheduler::plan() {
  plan_.copies.clear();
  plan_.rows.clear();
  plan_.samples.clear();
  plan_.num_rows = plan_.prefill_rows = plan_.decode_rows = plan_.draft_rows = 0;
  plan_.prefix_hit_rows = plan_.preemptions = 0;
  in_flight_.clear();
  prefilling_.clear();
  short_of_blocks_ = false;
  for (const auto& [id, sequence] : running_)
    if (sequence->prefilling) prefilling_.push_back(sequence);

  plan_decodes();
  plan_prefills();
  while (plan_.num_rows == 0 && !running_.empty()) {  // prompts only, and each lacks a block: the youngest makes room
    CHECK(running_.size() > 1);
    preempt(running_.rbegin()->second);
    plan_prefill(running_.begin()->second);
  }
  plan_admissions();
  CHECK(plan_.num_rows > 0 || idle());
  return plan_;
}

void Scheduler::plan_decodes() {
  int64_t later = num_running() - static_cast<int64_t>(prefilling_.size());  // that need a row each
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    Sequence* sequence = it->second;
    if (sequence->prefilling) continue;
    --later;
    while (!plan_rows(sequence, later)) {
      CHECK(running_.size() > 1);
      Sequence* youngest = running_.rbegin()->second;
      if (youngest == sequence) --it;  // it gives way itself
      preempt(youngest);
      if (youngest == sequence) break;
    }
  }
  plan_.decode_rows = plan_.num_rows - plan_.draft_rows;
}

void Scheduler::plan_prefills() {
  for (const auto& [id, sequence] : running_)
    if (rows_left() > 0 && sequence->prefilling) plan_prefill(sequence);
}

bool Scheduler::plan_prefill(Sequence* sequence) {
  BlockTable& table = sequence->table;
  if (blocks_.sharing() && table.num_shared == static_cast<int64_t>(table.blocks.size())) {
    const int64_t last = sequence->num_tokens() - 1;  // always computed: its logits are wanted
    auto match = blocks_.find(table, sequence->tokens, last);
    const int64_t have = (table.num_shared + static_cast<int64_t>(match.full.size())) * kKeyBlock;
    const auto rest =
        std::span<const int32_t>(sequence->tokens).subspan(static_cast<size_t>(have), static_cast<size_t>(last - have));
    const bool wait = being_computed(match.end_node(table), rest, match.partial_rows);
    if (wait) match.partial = -1;
    const int64_t positions = blocks_.adopt(table, match, plan_.copies);
    plan_.prefix_hit_rows += positions - sequence->num_computed;
    sequence->num_computed = positions;
    if (wait) return true;
  }
  return plan_rows(sequence);
}

// Guesses that may have rows: half of a step's rows at most, and a further block only where each running sequence could have
// one.
int64_t Scheduler::draft_room(const Sequence* sequence) const {
  const int64_t wanted = std::min(sequence->draft_wanted, max_rows_ / 2 - plan_.draft_rows), tokens = sequence->num_tokens();
  if (wanted <= 0) return 0;
  if (blocks_.num_available() > num_running()) return wanted;
  const int64_t blocks = std::max(blocks_of(tokens), static_cast<int64_t>(sequence->table.blocks.size()));
  return std::min(wanted, blocks * kKeyBlock - tokens);
}

bool Scheduler::plan_rows(Sequence* sequence, int64_t rows_kept) {
  const int64_t begin = sequence->num_computed, tokens = sequence->num_tokens();
  const int64_t want = std::min(tokens + draft_room(sequence), begin + rows_left() - rows_kept);
  const int64_t end = blocks_.reserve(sequence->table, begin, want, plan_.copies);
  if (end < std::min(want, tokens)) short_of_blocks_ = true;
  if (end == begin) return false;
  const int64_t num_draft = std::max<int64_t>(0, end - tokens);
  plan_.rows.push_back({sequence, begin, end, num_draft, end >= tokens, sequence->prefilling});
  plan_.num_rows += end - begin;
  plan_.draft_rows += num_draft;
  if (blocks_.sharing() && sequence->prefilling) {
    const int64_t from = sequence->table.num_shared * kKeyBlock;
    in_flight_.push_back(
        {BlockManager::last_shared(sequence->table),
         std::span<const int32_t>(sequence->tokens).subspan(static_cast<size_t>(from), static_cast<size_t>(end - from))});
  }
  if (end >= tokens) plan_.samples.push_back({sequence, static_cast<int64_t>(plan_.rows.size()) - 1, sequence});
  return true;
}

// Whether this step computes at least kMinPartialRows rows more of `tokens` than the `have` that the tree holds.
bool Scheduler::being_computed(int32_t node, std::span<const int32_t> tokens, int64_t have) const {
  const int64_t needed = have + BlockManager::kMinPartialRows;
  if (static_cast<int64_t>(tokens.size()) < needed) return false;
  const auto head = tokens.first(static_cast<size_t>(needed));
  return std::any_of(in_flight_.begin(), in_flight_.end(), [&](const InFlight& flight) {
    return flight.node == node && flight.tokens.size() >= head.size() &&
           std::equal(head.begin(), head.end(), flight.tokens.begin());
  });
}

bool Scheduler::equals_prefilling(const Sequence* sequence) const {
  return std::any_of(prefilling_.begin(), prefilling_.end(),
                     [&](const Sequence* other) { return other->tokens == sequence->tokens; });
}

void Scheduler::plan_admissions() {
  if (blocks_.sharing())
    for (size_t i = 0, n = plan_.samples.size(); i < n; ++i)
      if (const StepPlan::Sample sample = plan_.samples[i]; sample.sequence->prefilling)
        admit_followers(sample.sequence, sample.rows_idx);
  int64_t outstanding = outstanding_blocks();
  int looked = 0;
  for (auto it = waiting_.begin(); it != waiting_.end() && ++looked <= kLookAhead;) {
    if (short_of_blocks_ || rows_left() == 0 || num_running() == max_running_) break;
    Sequence* sequence = it->second;
    const uint64_t id = sequence->id;
    ++it;
    if (blocks_.sharing() && equals_prefilling(sequence)) continue;  // follows once that one's last row is computed
    const int64_t last = sequence->num_tokens() - 1;
    const auto match = blocks_.find(sequence->table, sequence->tokens, last);
    const int64_t full = static_cast<int64_t>(match.full.size());
    const auto rest = std::span<const int32_t>(sequence->tokens)
                          .subspan(static_cast<size_t>(full * kKeyBlock), static_cast<size_t>(last - full * kKeyBlock));
    if (being_computed(match.end_node(sequence->table), rest, match.partial_rows)) continue;
    const int64_t needed = blocks_of(sequence->num_tokens() + kKeyBlock) - full;
    if (!running_.empty() && blocks_.num_available() - match.unreferenced < outstanding + needed) break;  // nobody overtakes
    start(sequence);
    prefilling_.push_back(sequence);
    sequence->num_computed = blocks_.adopt(sequence->table, match, plan_.copies);
    plan_.prefix_hit_rows += sequence->num_computed;
    if (!plan_rows(sequence)) {
      CHECK(running_.size() > 1);
      preempt(sequence);
      break;
    }
    outstanding = outstanding_blocks();
    if (blocks_.sharing() && !plan_.samples.empty() && plan_.samples.back().sequence == sequence) {
      admit_followers(sequence, plan_.samples.back().rows_idx);
      outstanding = outstanding_blocks();
      it = waiting_.upper_bound(id);
    }
  }
  plan_.prefill_rows = plan_.num_rows - plan_.decode_rows - plan_.draft_rows;
}

void Scheduler::admit_followers(Sequence* leader, int64_t rows_idx) {
  int64_t spare = blocks_.num_available() - outstanding_blocks();
  int looked = 0;
  for (auto it = waiting_.begin(); it != waiting_.end() && ++looked <= kLookAhead;) {
    if (num_running() == max_running_ || spare <= 0) return;
    Sequence* sequence = it->second;
    ++it;
    if (sequence->tokens != leader->tokens) continue;
    start(sequence);
    plan_.samples.push_back({sequence, rows_idx, leader});
    --spare;
  }
}

void Scheduler::commit() {
  for (const StepPlan::Rows& rows : plan_.rows) {
    Sequence* sequence = rows.sequence;
    sequence->num_computed = rows.end;
    CHECK(rows.end <= sequence->num_tokens());
    blocks_.commit(sequence->table, sequence->tokens, rows.end, /*tail=*/rows.last && rows.prefill);
    if (rows.last) sequence->prefilling = false;
  }
  for (const StepPlan::Sample& sample : plan_.samples) {
    if (sample.leader == sample.sequence) continue;
    blocks_.fork(sample.leader->table, sample.sequence->table);
    sample.sequence->num_computed = sample.leader->num_computed;
    sample.sequence->prefilling = false;
    plan_.prefix_hit_rows += sample.sequence->num_computed;
  }
}

}  // namespace fathom
