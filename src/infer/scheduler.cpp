#include "infer/scheduler.h"

#include <algorithm>
#include <utility>

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

bool Scheduler::ByRank::operator()(const Sequence* a, const Sequence* b) const {
  return std::pair(-int64_t{a->request.priority}, a->id) < std::pair(-int64_t{b->request.priority}, b->id);
}

Scheduler::Scheduler(BlockManager& blocks, int64_t max_rows, int64_t max_sequences, double target_seconds)
    : blocks_(blocks),
      max_rows_(max_rows),
      max_running_(std::min(max_rows, max_sequences)),  // so that every running sequence can have a row in every step
      target_seconds_(target_seconds) {
  CHECK(max_rows > 0 && max_sequences > 0 && target_seconds >= 0);
}

void Scheduler::add(Sequence* sequence) {
  sequence->state = Sequence::State::kWaiting;
  ++num_waiting_;
  queues_.add(sequence);
  if (sequence->deadline < std::numeric_limits<double>::infinity()) deadlines_.emplace(sequence->deadline, sequence);
}

void Scheduler::remove(Sequence* sequence) {
  if (sequence->state == Sequence::State::kFinished) return;
  if (sequence->state == Sequence::State::kRunning) stop(sequence);
  --num_waiting_;
  queues_.remove(sequence);
  deadlines_.erase({sequence->deadline, sequence});
  sequence->state = Sequence::State::kFinished;
}

// Running to waiting.
void Scheduler::stop(Sequence* sequence) {
  CHECK(running_.erase(sequence) == 1);
  --sequence->client->num_running;
  queues_.prompt_again(sequence);
  ++num_waiting_;
  sequence->state = Sequence::State::kWaiting;
  blocks_.commit(sequence->table, sequence->tokens, sequence->num_computed, /*tail=*/true);
  blocks_.release(sequence->table);
  sequence->num_computed = 0;
  sequence->draft_wanted = 0;
  sequence->prefilling = sequence->following = false;
}

void Scheduler::preempt(Sequence* sequence) {
  stop(sequence);
  plan_.preempted.push_back(sequence->id);
}

void Scheduler::preempt_all() {
  while (!running_.empty()) preempt(*running_.begin());
}

void Scheduler::start(Sequence* sequence) {
  --num_waiting_;
  running_.insert(sequence);
  ++sequence->client->num_running;
  sequence->state = Sequence::State::kRunning;
  sequence->prefilling = true;
}

void Scheduler::expire(Sequence* sequence) {
  plan_.expired.push_back(sequence);
  remove(sequence);
}

int64_t Scheduler::outstanding_blocks() const {
  int64_t sum = 0;
  for (const Sequence* sequence : running_) sum += demand(*sequence);
  return sum;
}

StepPlan& Scheduler::plan(double now) {
  plan_.copies.clear();
  plan_.rows.clear();
  plan_.samples.clear();
  plan_.expired.clear();
  plan_.num_rows = plan_.prefill_rows = plan_.decode_rows = plan_.draft_rows = 0;
  plan_.prefix_hit_rows = 0;
  plan_.preempted.clear();
  in_flight_.clear();
  prefilling_.clear();
  short_of_blocks_ = false;
  now_ = now;
  queues_.advance();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) expire(deadlines_.begin()->second);
  for (const Sequence* sequence : running_)
    if (sequence->prefilling) prefilling_.push_back(sequence);
  take_place();

  row_limit_ = max_rows_;
  plan_decodes();
  if (target_seconds_ > 0 && plan_.num_rows > 0)
    row_limit_ = plan_.num_rows + std::min(rows_left(), cost_.prefill_rows_within(target_seconds_, plan_.num_rows));
  plan_prompts();
  while (plan_.num_rows == 0 && !running_.empty()) {  // prompts only, and each lacks a block: the last in rank makes room
    CHECK(running_.size() > 1);
    preempt(*running_.rbegin());
    plan_prefill(*running_.begin());
  }
  plan_.prefill_rows = plan_.num_rows - plan_.decode_rows - plan_.draft_rows;
  CHECK(plan_.num_rows > 0 || idle());
  return plan_;
}

// Whether a waiting sequence could start, if so many places and blocks more were free than are.
bool Scheduler::fits(const Sequence* sequence, const BlockManager::Match& match, int64_t places, int64_t blocks) const {
  if (num_running() == places) return true;  // submit() has checked it against the whole cache
  const int64_t needed = blocks_of(sequence->num_tokens() + kKeyBlock) - static_cast<int64_t>(match.full.size());
  return num_running() - places < max_running_ &&
         blocks_.num_available() - match.unreferenced + blocks >= outstanding_blocks() + needed;
}

void Scheduler::take_place() {
  taker_ = nullptr;
  if (running_.empty() || num_waiting_ == 0) return;
  const Client* richest = nullptr;
  for (const auto& [key, client] : queues_.clients())
    if (client.num_running > 1 && (!richest || client.num_running > richest->num_running)) richest = &client;
  const int32_t lowest = (*running_.rbegin())->request.priority;
  Sequence* taker = nullptr;
  for (const auto& [key, client] : queues_.clients())
    for (Sequence* first : client.prompts) {
      const bool entitled = first->request.priority > lowest || (richest && client.num_running == 0);
      if (entitled && first->state != Sequence::State::kWaiting) continue;
      if (entitled && (!taker || ClientQueues::before(first, taker))) taker = first;
      break;
    }
  if (!taker || (blocks_.sharing() && equals_prefilling(taker))) return;
  const auto match = blocks_.find(taker->table, taker->tokens, taker->num_tokens() - 1);
  if (fits(taker, match, 0, 0)) return;
  std::vector<Sequence*> victims;
  int64_t blocks = 0, kept = richest ? richest->num_running : 0;
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    Sequence* victim = *it;
    const bool lower = victim->request.priority < taker->request.priority;
    const bool shares = victim->request.priority == taker->request.priority && taker->client->num_running == 0 &&
                        victim->client == richest && kept > 1;
    if (!lower && !shares) continue;
    kept -= victim->client == richest;
    blocks += blocks_.num_own(victim->table) + demand(*victim);
    victims.push_back(victim);
    if (!fits(taker, match, static_cast<int64_t>(victims.size()), blocks)) continue;
    for (Sequence* each : victims) preempt(each);
    std::erase_if(prefilling_, [](const Sequence* s) { return s->state != Sequence::State::kRunning; });
    taker_ = taker;
    return;
  }
}

void Scheduler::plan_decodes() {
  int64_t later = num_running() - static_cast<int64_t>(prefilling_.size()) + (taker_ ? 1 : 0);  // that need a row each
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    Sequence* sequence = *it;
    if (sequence->prefilling) continue;
    --later;
    while (!plan_rows(sequence, later)) {
      CHECK(running_.size() > 1);
      Sequence* last = *running_.rbegin();
      if (last == sequence) --it;  // it gives way itself
      preempt(last);
      if (last == sequence) break;
    }
  }
  plan_.decode_rows = plan_.num_rows - plan_.draft_rows;
}

void Scheduler::plan_prompts() {
  bool more = !taker_ || admit(taker_);
  ClientQueues::Turns turns(queues_);
  for (int looked = 0; rows_left() > 0 && looked < kLookAhead; ++looked) {
    Sequence* sequence = turns.next();
    if (!sequence) return;
    if (sequence == taker_ || sequence->following) continue;
    if (sequence->state == Sequence::State::kRunning)
      plan_prefill(sequence);
    else if (more && !admit(sequence))
      more = false;  // nobody overtakes
  }
}

void Scheduler::plan_prefill(Sequence* sequence) {
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
    if (wait) return;
  }
  plan_rows(sequence);
  admit_followers(sequence);
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
  sequence->client->served += end - begin;
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

// False: it lacks a place or blocks.
bool Scheduler::admit(Sequence* sequence) {
  if (short_of_blocks_ || num_running() == max_running_) return false;
  if (blocks_.sharing() && equals_prefilling(sequence)) return true;  // follows once that one's last row is computed
  const int64_t last = sequence->num_tokens() - 1;
  const auto match = blocks_.find(sequence->table, sequence->tokens, last);
  const int64_t have = static_cast<int64_t>(match.full.size()) * kKeyBlock;
  const auto rest =
      std::span<const int32_t>(sequence->tokens).subspan(static_cast<size_t>(have), static_cast<size_t>(last - have));
  if (being_computed(match.end_node(sequence->table), rest, match.partial_rows)) return true;
  if (now_ + cost_.seconds(0, last + 1 - have - match.partial_rows) / 2 > sequence->deadline) {
    expire(sequence);
    return true;
  }
  if (!fits(sequence, match, 0, 0)) return false;
  start(sequence);
  prefilling_.push_back(sequence);
  sequence->num_computed = blocks_.adopt(sequence->table, match, plan_.copies);
  plan_.prefix_hit_rows += sequence->num_computed;
  if (!plan_rows(sequence)) {
    CHECK(running_.size() > 1);
    preempt(sequence);
    return false;
  }
  admit_followers(sequence);
  return true;
}

// Where this step computes the last row of its prompt, those with equal tokens sample from it too.
void Scheduler::admit_followers(Sequence* leader) {
  if (!blocks_.sharing() || plan_.samples.empty() || plan_.samples.back().sequence != leader) return;
  const int64_t rows_idx = plan_.samples.back().rows_idx;
  int64_t spare = blocks_.num_available() - outstanding_blocks();
  ClientQueues::Turns turns(queues_);
  for (int looked = 0; looked < kLookAhead && num_running() < max_running_ && spare > 0; ++looked) {
    Sequence* sequence = turns.next();
    if (!sequence) return;
    if (sequence->state != Sequence::State::kWaiting || sequence == taker_ || sequence->tokens != leader->tokens) continue;
    start(sequence);
    sequence->following = true;
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
    if (rows.last && rows.prefill) {
      sequence->prefilling = false;
      queues_.prompt_done(sequence);
    }
  }
  for (const StepPlan::Sample& sample : plan_.samples) {
    if (sample.leader == sample.sequence) continue;
    blocks_.fork(sample.leader->table, sample.sequence->table);
    sample.sequence->num_computed = sample.leader->num_computed;
    sample.sequence->prefilling = sample.sequence->following = false;
    queues_.prompt_done(sample.sequence);
    plan_.prefix_hit_rows += sample.sequence->num_computed;
  }
}

}  // namespace fathom
