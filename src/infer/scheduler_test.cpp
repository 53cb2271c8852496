#include "infer/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "base/rng.h"
#include "infer/drafter.h"

namespace fathom {
namespace {

uint64_t mix(uint64_t h, int32_t token) { return (h ^ static_cast<uint64_t>(token + 1)) * 0xD1342543DE82EF95u; }

// An engine whose model is a hash of the prefix: a row's value depends on every earlier row that its table claims to hold,
// so a wrong block, a lost copy or a row computed twice differently changes the tokens.
class FakeEngine {
 public:
  // `draft`: each decoding sequence gets up to so many guesses a step, three in four of them right.
  FakeEngine(int64_t num_blocks, int64_t max_rows, int64_t max_sequences, bool sharing, int64_t draft = 0)
      : blocks(num_blocks, sharing),
        scheduler(blocks, max_rows, max_sequences),
        slots_(static_cast<size_t>(num_blocks) * kKeyBlock),
        max_rows_(max_rows),
        draft_(draft) {}

  Sequence* submit(std::vector<int32_t> prompt, int64_t max_tokens, uint64_t seed) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = sequences_.size();
    sequence->tokens = prompt;
    sequence->request.prompt = std::move(prompt);
    sequence->request.max_tokens = max_tokens;
    sequence->request.seed = seed;
    scheduler.add(sequence.get());
    sequences_.push_back(std::move(sequence));
    return sequences_.back().get();
  }
  bool step() {
    for (const auto& [id, s] : scheduler.running())
      if (!s->prefilling && draft_ > 0)
        s->draft_wanted = std::min<int64_t>(static_cast<int64_t>(rng_.next_below(static_cast<uint64_t>(draft_ + 1))),
                                            s->request.max_tokens - s->num_generated() - 1);
    StepPlan& plan = scheduler.plan();
    if (plan.rows.empty()) return false;
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
    hit_rows += plan.prefix_hit_rows;
    preemptions += plan.preemptions;
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

std::vector<int32_t> prompt_of(int64_t n, int32_t seed) {
  Rng rng(static_cast<uint64_t>(seed), RngStream::kTest);
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < n; ++i) prompt.push_back(static_cast<int32_t>(rng.next_below(100)));
  return prompt;
}

TEST(Scheduler, AGroupComputesItsPromptOnce) {
  for (const int64_t n : {1, 3, 10, 64, 100, 700}) {
    FakeEngine engine(256, 128, 64, true);
    std::vector<Sequence*> group;
    for (uint64_t i = 0; i < 16; ++i) group.push_back(engine.submit(prompt_of(n, 1), 20, i));
    engine.run();
    EXPECT_EQ(engine.computed_rows, n + 16 * 19) << n;
    EXPECT_EQ(engine.hit_rows, 15 * n);
    for (Sequence* s : group) EXPECT_EQ(s->completion.ids, FakeEngine::alone(s->request));
  }
}

TEST(Scheduler, PromptsThatBeginAlikeWaitForTheSharedPart) {
  FakeEngine engine(256, 512, 64, true);
  std::vector<Sequence*> all;
  for (uint64_t i = 0; i < 8; ++i) {
    auto prompt = prompt_of(150, 1);
    const auto tail = prompt_of(30, 100 + static_cast<int32_t>(i));
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    all.push_back(engine.submit(prompt, 1, i));
  }
  engine.run();
  EXPECT_EQ(engine.computed_rows, 150 + 8 * 30);
  EXPECT_EQ(engine.steps, 2);
  for (Sequence* s : all) EXPECT_EQ(s->completion.ids, FakeEngine::alone(s->request));
}

TEST(Scheduler, AFinishedConversationContinuesWhereItEnded) {
  FakeEngine engine(64, 512, 4, true);
  Sequence* first = engine.submit(prompt_of(50, 1), 30, 1);
  engine.run();
  auto prompt = first->tokens;
  prompt.push_back(5);
  Sequence* second = engine.submit(prompt, 3, 2);
  engine.run();
  EXPECT_EQ(engine.hit_rows, 79);  // all but the last token of the answer and the new one
  EXPECT_EQ(second->completion.ids, FakeEngine::alone(second->request));
}

TEST(Scheduler, DecodeRowsComeFirstAndPromptsAreCut) {
  FakeEngine engine(64, 16, 8, true);
  Sequence* a = engine.submit(prompt_of(8, 1), 40, 1);
  ASSERT_TRUE(engine.step());
  Sequence* b = engine.submit(prompt_of(100, 2), 2, 2);
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(a->num_generated(), 7);  // one token in every step
  EXPECT_EQ(b->num_computed, 6 * 15);
  engine.run();
  EXPECT_EQ(b->completion.ids, FakeEngine::alone(b->request));
}

TEST(Scheduler, RandomWorkGivesWhatEachGivesAlone) {
  int64_t preemptions = 0, hits = 0, right_guesses = 0;
  for (uint64_t seed = 0; seed < 160; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed, RngStream::kTest, 1);
    const int64_t num_blocks = 6 + static_cast<int64_t>(rng.next_below(30)),
                  max_rows = 1 + static_cast<int64_t>(rng.next_below(100));
    FakeEngine engine(num_blocks, max_rows, 1 + static_cast<int64_t>(rng.next_below(20)), seed % 4 != 0,
                      seed < 80 ? 0 : 1 + static_cast<int64_t>(rng.next_below(kMaxDraft)));
    std::vector<Sequence*> all;
    std::vector<std::vector<int32_t>> earlier;
    for (int i = 0; i < 40; ++i) {
      std::vector<int32_t> prompt =
          prompt_of(1 + static_cast<int64_t>(rng.next_below(200)), static_cast<int32_t>(rng.next_below(1000)));
      if (!earlier.empty() && rng.next_below(2) == 0) {  // begins like another one, or is equal to it
        prompt = earlier[rng.next_below(earlier.size())];
        if (rng.next_below(2) == 0) {
          prompt.resize(1 + rng.next_below(prompt.size()));
          prompt.push_back(static_cast<int32_t>(rng.next_below(100)));
        }
      }
      earlier.push_back(prompt);
      const int64_t room = num_blocks * kKeyBlock - static_cast<int64_t>(prompt.size()) + 1;  // what submit() allows
      const int64_t max_tokens = std::min<int64_t>(room, 1 + static_cast<int64_t>(rng.next_below(500)));
      all.push_back(engine.submit(prompt, max_tokens, rng.next_below(3)));
      for (uint64_t n = rng.next_below(4); n-- > 0;) engine.step();
      if (rng.next_below(8) == 0) {
        Sequence* victim = all[rng.next_below(all.size())];
        if (victim->state != Sequence::State::kFinished) engine.scheduler.remove(victim);
      }
      if (rng.next_below(30) == 0) {
        engine.scheduler.preempt_all();
        engine.blocks.drop_cached();
      }
    }
    engine.run();
    for (Sequence* s : all) {
      auto want = FakeEngine::alone(s->request);
      want.resize(s->completion.ids.size());  // cancelled ones have a part
      EXPECT_EQ(s->completion.ids, want);
      EXPECT_EQ(s->state, Sequence::State::kFinished);
    }
    preemptions += engine.preemptions;
    hits += engine.hit_rows;
    right_guesses += engine.right_guesses;
    if (HasFailure()) return;
  }
  EXPECT_GT(preemptions, 100);  // the test reached what it is about
  EXPECT_GT(hits, 1000);
  EXPECT_GT(right_guesses, 1000);
}

}  // namespace
}  // namespace fathom
