// An engine without a model, for the scheduler's tests.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "infer/scheduler.h"

namespace fathom {

inline uint64_t mix(uint64_t h, int32_t token) { return (h ^ static_cast<uint64_t>(token + 1)) * 0xD1342543DE82EF95u; }

// An engine whose model is a hash of the prefix: a row's value depends on every earlier row that its table claims to hold,
// so a wrong block, a lost copy or a row computed twice differently changes the tokens.
class FakeEngine {
 public:
  // `draft`: each decoding sequence gets up to so many guesses a step, three in four of them right.
  FakeEngine(int64_t num_blocks, int64_t max_rows, int64_t max_sequences, bool sharing, int64_t draft = 0,
             double target_seconds = 0)
      : blocks(num_blocks, sharing),
        scheduler(blocks, max_rows, max_sequences, target_seconds),
        slots_(static_cast<size_t>(num_blocks) * kKeyBlock),
        max_rows_(max_rows),
        draft_(draft) {}

  Sequence* submit(std::vector<int32_t> prompt, int64_t max_tokens, uint64_t seed, const Request& asks = {}) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = sequences_.size();
    sequence->tokens = prompt;
    sequence->request = asks;  // client, priority, deadline
    sequence->request.prompt = std::move(prompt);
    sequence->request.max_tokens = max_tokens;
    sequence->request.seed = seed;
    if (asks.deadline_seconds > 0) sequence->deadline = now + asks.deadline_seconds;
    scheduler.add(sequence.get());
    sequences_.push_back(std::move(sequence));
    return sequences_.back().get();
  }
  bool step() {
    for (Sequence* s : scheduler.running())
      if (!s->prefilling && draft_ > 0)
        s->draft_wanted = std::min<int64_t>(static_cast<int64_t>(rng_.next_below(static_cast<uint64_t>(draft_ + 1))),
                                            s->request.max_tokens - s->num_generated() - 1);
    StepPlan& plan = scheduler.plan(now);
    for (Sequence* s : plan.expired) s->completion.reason = FinishReason::kDeadline;
    if (plan.rows.empty()) return !plan.expired.empty();
    for (StepPlan::Rows& rows : plan.rows) guess(rows);
    EXPECT_LE(plan.num_rows, max_rows_);
    for (const BlockCopy& copy : plan.copies)
      for (int64_t row = 0; row < kKeyBlock; ++row) slot(copy.to, row) = slot(copy.from, row);
    std::vector<std::vector<uint64_t>> out;
    for (const StepPlan::Rows& rows : plan.rows) {
      out.emplace_back();
      const auto& table = rows.sequence->table.blocks;
      for (int64_t p = rows.begin; p < rows.end; ++p) {
        const uint64_t before = p == 0 ? 7 : slot(table[static_cast<size_t>((p - 1) / kKeyBlock)], (p - 1) % kKeyBlock);
        const int64_t ahead = p - rows.sequence->num_tokens();
        const uint64_t value = mix(before, ahead < 0 ? rows.sequence->tokens[static_cast<size_t>(p)]
                                                     : rows.sequence->draft[static_cast<size_t>(ahead)]);
        slot(table[static_cast<size_t>(p / kKeyBlock)], p % kKeyBlock) = value;
        out.back().push_back(value);
        ++computed_rows;
      }
    }
    std::vector<std::vector<int32_t>> drawn;
    for (const StepPlan::Sample& sample : plan.samples) {
      StepPlan::Rows& rows = plan.rows[static_cast<size_t>(sample.rows_idx)];
      Sequence* s = sample.sequence;
      const auto& values = out[static_cast<size_t>(sample.rows_idx)];
      size_t row = values.size() - 1 - s->draft.size();
      drawn.emplace_back();
      for (size_t j = 0; j <= s->draft.size(); ++j) {
        drawn.back().push_back(draw(values[row + j], s->request.seed, s->num_generated() + static_cast<int64_t>(j)));
        s->tokens.push_back(drawn.back().back());
        if (j == s->draft.size() || drawn.back().back() != s->draft[j]) break;
        ++right_guesses;
      }
      rows.end -= static_cast<int64_t>(s->draft.size() + 1 - drawn.back().size());
      s->draft.clear();
    }
    scheduler.commit();
    const int64_t decode_rows = plan.num_rows - plan.prefill_rows;
    last_seconds = step_seconds(decode_rows, plan.prefill_rows);
    now += last_seconds;
    if (last_seconds > 0) scheduler.record_step(decode_rows, plan.prefill_rows, last_seconds);
    hit_rows += plan.prefix_hit_rows;
    preemptions += static_cast<int64_t>(plan.preempted.size());
    ++steps;
    for (size_t i = 0; i < plan.samples.size(); ++i) {
      Sequence* s = plan.samples[i].sequence;
      s->completion.ids.insert(s->completion.ids.end(), drawn[i].begin(), drawn[i].end());
      if (s->num_generated() >= s->request.max_tokens) scheduler.remove(s);
    }
    std::vector<const BlockTable*> tables;
    for (const auto& s : sequences_)
      if (s->state == Sequence::State::kRunning) tables.push_back(&s->table);
    blocks.check_invariants(tables);
    return true;
  }
  void run() {
    while (step()) ASSERT_LT(steps, 100000) << "no end: the scheduler does not get anywhere";
    EXPECT_EQ(blocks.num_used(), 0);
  }
  // What the request gives alone, without any cache.
  static std::vector<int32_t> alone(const Request& request) {
    uint64_t h = 7;
    for (const int32_t token : request.prompt) h = mix(h, token);
    std::vector<int32_t> ids;
    while (static_cast<int64_t>(ids.size()) < request.max_tokens) {
      const int32_t token = draw(h, request.seed, static_cast<int64_t>(ids.size()));
      ids.push_back(token);
      h = mix(h, token);
    }
    return ids;
  }

  BlockManager blocks;
  Scheduler scheduler;
  // A clock that a step moves: what it costs is for the test to say.
  std::function<double(int64_t decode_rows, int64_t prefill_rows)> step_seconds = [](int64_t, int64_t) { return 0.0; };
  double now = 0, last_seconds = 0;
  int64_t computed_rows = 0, hit_rows = 0, preemptions = 0, steps = 0, right_guesses = 0;

 private:
  static int32_t draw(uint64_t h, uint64_t seed, int64_t n) {
    return static_cast<int32_t>((mix(h, static_cast<int32_t>(seed * 131 + static_cast<uint64_t>(n))) >> 33) % 7);
  }
  // Fills in fewer guesses than there is room for at times, and wrong ones.
  void guess(StepPlan::Rows& rows) {
    Sequence* s = rows.sequence;
    ASSERT_EQ(rows.num_draft > 0, rows.end > s->num_tokens());
    const int64_t made = rows.num_draft == 0 || rng_.next_below(4) > 0
                             ? rows.num_draft
                             : static_cast<int64_t>(rng_.next_below(static_cast<uint64_t>(rows.num_draft)));
    const auto truth = made > 0 ? alone(s->request) : std::vector<int32_t>();
    for (int64_t i = 0; i < made; ++i) {
      const int32_t token = truth[static_cast<size_t>(s->num_generated() + i)];
      s->draft.push_back(rng_.next_below(4) > 0 ? token : (token + 1) % 7);
    }
    rows.end -= rows.num_draft - made;
    rows.num_draft = made;
  }
  uint64_t& slot(int32_t block, int64_t row) { return slots_[static_cast<size_t>(block * kKeyBlock + row)]; }
  std::vector<uint64_t> slots_;
  int64_t max_rows_, draft_;
  Rng rng_{9, RngStream::kTest, 5};
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

inline std::vector<int32_t> prompt_of(int64_t n, int32_t seed) {
  Rng rng(static_cast<uint64_t>(seed), RngStream::kTest);
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < n; ++i) prompt.push_back(static_cast<int32_t>(rng.next_below(100)));
  return prompt;
}

}  // namespace fathom
