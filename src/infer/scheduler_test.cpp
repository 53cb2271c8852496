#include "infer/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "infer/drafter.h"
#include "infer/fake_engine.h"

namespace fathom {
namespace {

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
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "there is one thread here, which has nobody to race with";
#endif
  int64_t preemptions = 0, hits = 0, right_guesses = 0, expired = 0;
  for (uint64_t seed = 0; seed < 160; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed, RngStream::kTest, 1);
    const int64_t num_blocks = 6 + static_cast<int64_t>(rng.next_below(30)),
                  max_rows = 1 + static_cast<int64_t>(rng.next_below(100));
    FakeEngine engine(num_blocks, max_rows, 1 + static_cast<int64_t>(rng.next_below(20)), seed % 4 != 0,
                      seed < 80 ? 0 : 1 + static_cast<int64_t>(rng.next_below(kMaxDraft)),
                      /*target_seconds=*/rng.next_below(2) == 0 ? 0 : 0.5 + rng.next_float());
    Rng clock(seed, RngStream::kTest, 2);
    engine.step_seconds = [&](int64_t decode_rows, int64_t prefill_rows) {  // budgets that change from step to step
      return clock.next_float() + 0.02 * static_cast<double>(decode_rows) +
             0.05 * clock.next_float() * static_cast<double>(prefill_rows);
    };
    const uint64_t clients = 1 + rng.next_below(4), priorities = 1 + rng.next_below(3);
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
      Request asks;
      asks.client = std::to_string(rng.next_below(clients));
      asks.priority = static_cast<int32_t>(rng.next_below(priorities));
      if (rng.next_below(6) == 0) asks.deadline_seconds = 1 + 100 * rng.next_float();
      all.push_back(engine.submit(prompt, max_tokens, rng.next_below(3), asks));
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
      want.resize(s->completion.ids.size());  // cancelled and late ones have a part
      if (s->completion.reason == FinishReason::kDeadline) ++expired;
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
  EXPECT_GT(expired, 100);
}

}  // namespace
}  // namespace fathom
