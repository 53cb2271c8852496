// Who gets what when, by hand: shares of clients, short and long prompts, the target of a step, priorities, deadlines.
#include <gtest/gtest.h>

#include <vector>

#include "infer/fake_engine.h"

namespace fathom {
namespace {

Request from(const char* client, int32_t priority = 0, double deadline_seconds = 0) {
  Request request;
  request.client = client;
  request.priority = priority;
  request.deadline_seconds = deadline_seconds;
  return request;
}
void expect_whole(const Sequence* s) { EXPECT_EQ(s->completion.ids, FakeEngine::alone(s->request)); }

// 10 ms, 1 ms a decode row, 0.5 ms a prompt's row.
double seconds_of(int64_t decode_rows, int64_t prefill_rows) {
  return 0.010 + 0.001 * static_cast<double>(decode_rows) + 0.0005 * static_cast<double>(prefill_rows);
}

TEST(SchedulerPolicy, ALongPromptDelaysDecodingNoMoreThanTheTargetSays) {
  FakeEngine engine(256, 512, 16, true, 0, /*target_seconds=*/0.040);
  engine.step_seconds = seconds_of;
  std::vector<Sequence*> short_ones;
  for (int32_t i = 0; i < 4; ++i) short_ones.push_back(engine.submit(prompt_of(20, i), 200, 1));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine.step());
  Sequence* long_one = engine.submit(prompt_of(5000, 9), 1, 1);
  int64_t before = 0, steps = 0;
  while (long_one->num_generated() == 0) {
    ASSERT_TRUE(engine.step());
    ++steps;
    const int64_t rows = long_one->num_generated() > 0 ? 0 : long_one->num_computed - before;
    before = long_one->num_computed;
    EXPECT_LE(engine.last_seconds, 0.044) << steps;
    if (steps > 8 && rows > 0) {
      EXPECT_NEAR(rows, 52, 3);  // (40 - 10 - 4 * 1) / 0.5
    }
    for (Sequence* s : short_ones) EXPECT_EQ(s->num_generated(), 10 + steps);  // one token in every step
  }
  EXPECT_NEAR(steps, 5000 / 52, 8);
  engine.run();
  expect_whole(long_one);
}

TEST(SchedulerPolicy, PromptsGoOnWhereDecodingAloneMissesTheTarget) {
  FakeEngine engine(256, 512, 16, true, 0, /*target_seconds=*/0.005);
  engine.step_seconds = seconds_of;
  for (int32_t i = 0; i < 4; ++i) engine.submit(prompt_of(20, i), 500, 1);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine.step());
  Sequence* s = engine.submit(prompt_of(700, 9), 1, 1);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(engine.step());
  const int64_t before = s->num_computed;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(engine.step());
  EXPECT_NEAR(s->num_computed - before, 20 * 7, 20);  // a quarter of 14 ms
  engine.run();
  expect_whole(s);
}

TEST(SchedulerPolicy, NothingDecodesNothingIsHeldBack) {
  FakeEngine engine(256, 512, 16, true, 0, /*target_seconds=*/0.005);
  engine.step_seconds = seconds_of;
  Sequence* s = engine.submit(prompt_of(1536, 9), 1, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(s->num_generated(), 1);
}

// Steps of 64 rows. A has twenty prompts of 640; B comes after three steps with one of 64.
TEST(SchedulerPolicy, OneClientsLongPromptsDoNotStarveAnother) {
  FakeEngine engine(512, 64, 64, true);
  for (int32_t i = 0; i < 20; ++i) engine.submit(prompt_of(640, i), 1, 1, from("a"));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  Sequence* b = engine.submit(prompt_of(64, 100), 1, 1, from("b"));
  ASSERT_TRUE(engine.step());  // a was served 192 rows; b joins at the 128 that a had when the last step began
  EXPECT_EQ(b->num_generated(), 1);
  engine.run();
}

// Three clients that always have prompts share the rows equally, whatever their number and length; one that comes later
// waits for no more than one step of each other.
TEST(SchedulerPolicy, ClientsShareRowsEqually) {
  FakeEngine engine(2048, 64, 256, false);
  int32_t seed = 0;
  std::vector<std::vector<Sequence*>> of(4);
  for (int i = 0; i < 10; ++i) of[0].push_back(engine.submit(prompt_of(2000, ++seed), 1, 1, from("a")));
  for (int i = 0; i < 100; ++i) of[1].push_back(engine.submit(prompt_of(200, ++seed), 1, 1, from("b")));
  for (int i = 0; i < 700; ++i) of[2].push_back(engine.submit(prompt_of(30, ++seed), 1, 1, from("c")));
  const auto rows = [&](size_t client) {
    int64_t sum = 0;
    for (const Sequence* s : of[client])
      sum += s->num_generated() > 0 ? static_cast<int64_t>(s->request.prompt.size()) : s->num_computed;
    return sum;
  };
  for (int i = 0; i < 120; ++i) ASSERT_TRUE(engine.step());
  for (size_t client = 0; client < 3; ++client) EXPECT_NEAR(static_cast<double>(rows(client)), 40 * 64, 2 * 64) << client;
  of[3].push_back(engine.submit(prompt_of(640, ++seed), 1, 1, from("d")));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine.step());
  EXPECT_GE(rows(3), 64);
  for (int i = 0; i < 36; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(of[3][0]->num_generated(), 1);  // 640 rows, a quarter of 40 steps of 64
}

// Credit is not saved: a client that did nothing for a thousand rows gets no more than its share afterwards.
TEST(SchedulerPolicy, WhoWasAwayBringsNoCredit) {
  FakeEngine engine(2048, 64, 256, false);
  engine.submit(prompt_of(10, 1), 1, 1, from("b"));
  ASSERT_TRUE(engine.step());
  for (int32_t i = 0; i < 10; ++i) engine.submit(prompt_of(1000, 10 + i), 1, 1, from("a"));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(engine.step());
  Sequence* b = engine.submit(prompt_of(2000, 100), 1, 1, from("b"));
  const int64_t computed = engine.computed_rows;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(engine.computed_rows - computed, 20 * 64);
  EXPECT_NEAR(static_cast<double>(b->num_computed), 10 * 64, 64);
  engine.run();
  EXPECT_LE(engine.scheduler.num_running(), 0);
}

// Four places, all taken by a's long answers, and fifty more behind them: b starts in the next step in the place of a's
// youngest, and has a token in every step.
TEST(SchedulerPolicy, OneClientsManyRequestsDoNotStarveAnother) {
  FakeEngine engine(512, 64, 4, true);
  std::vector<Sequence*> a;
  for (int32_t i = 0; i < 54; ++i) a.push_back(engine.submit(prompt_of(10, i), 300, 1, from("a")));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine.step());
  Sequence* b = engine.submit(prompt_of(20, 100), 30, 1, from("b"));
  Sequence* later = engine.submit(prompt_of(20, 101), 30, 1, from("b"));
  for (int i = 1; i <= 30; ++i) {
    ASSERT_TRUE(engine.step());
    EXPECT_EQ(b->num_generated(), i);
  }
  EXPECT_EQ(engine.preemptions, 1);
  EXPECT_EQ(a[2]->num_generated(), 35);
  EXPECT_EQ(a[3]->num_generated(), 5);   // gave way
  EXPECT_EQ(later->num_generated(), 0);  // b had a place
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(later->num_generated(), 1);  // its place is free again, and b was served less
  engine.run();
  for (Sequence* s : a) expect_whole(s);
  expect_whole(b);
  expect_whole(later);
}

// Steps of 50 rows, one client: a prompt of 1,000 and then one of 40 before every step. A short one goes first while the
// client was served less than 960 rows since the long one came: 20 steps, in which the long one has 10 rows each; then it
// goes first: 16 steps more.
TEST(SchedulerPolicy, ShortPromptsPassALongOneButDoNotStarveIt) {
  FakeEngine engine(512, 50, 50, true);
  Sequence* long_one = engine.submit(prompt_of(1000, 1), 1, 1);
  std::vector<Sequence*> short_ones;
  int64_t done_at = 0;
  for (int i = 1; i <= 60; ++i) {
    short_ones.push_back(engine.submit(prompt_of(40, 100 + i), 1, 1));
    ASSERT_TRUE(engine.step());
    if (i <= 19) {
      EXPECT_EQ(short_ones.back()->num_generated(), 1) << i;
    }
    if (done_at == 0 && long_one->num_generated() > 0) done_at = i;
  }
  EXPECT_NEAR(static_cast<double>(done_at), 36, 1);
  engine.run();
  for (Sequence* s : short_ones) expect_whole(s);
}

// Two places and 8 blocks. The low ones fill both; a high one takes the place of the younger.
TEST(SchedulerPolicy, AHigherPriorityTakesThePlaceOfALowerOne) {
  FakeEngine engine(8, 64, 2, true);
  Sequence* low[] = {engine.submit(prompt_of(10, 1), 100, 1), engine.submit(prompt_of(10, 2), 100, 1)};
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  Sequence* lowest = engine.submit(prompt_of(10, 3), 100, 1, from("", -1));
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(engine.preemptions, 0);  // it takes nobody's place
  Sequence* high[] = {engine.submit(prompt_of(10, 4), 20, 1, from("", 1)), engine.submit(prompt_of(10, 5), 20, 1, from("", 1)),
                      engine.submit(prompt_of(10, 6), 20, 1, from("", 1))};
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(engine.preemptions, 1);
  EXPECT_EQ(low[0]->state, Sequence::State::kRunning);
  EXPECT_EQ(low[1]->state, Sequence::State::kWaiting);
  EXPECT_EQ(high[0]->num_generated(), 1);
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(low[0]->state, Sequence::State::kWaiting);
  EXPECT_EQ(high[1]->num_generated(), 1);
  EXPECT_EQ(high[2]->num_generated(), 0);  // equals wait for each other
  EXPECT_EQ(engine.preemptions, 2);
  engine.run();
  for (Sequence* s : {low[0], low[1], lowest, high[0], high[1], high[2]}) expect_whole(s);
}

// Six blocks; three sequences outgrow them. Who gives blocks back: the lowest priority, then the youngest.
TEST(SchedulerPolicy, BlocksAreTakenFromTheLastInRank) {
  FakeEngine engine(6, 64, 3, true);
  Sequence* low = engine.submit(prompt_of(20, 1), 180, 1, from("", -1));
  Sequence* old = engine.submit(prompt_of(20, 2), 180, 1);
  Sequence* young = engine.submit(prompt_of(20, 3), 180, 1);
  while (engine.preemptions == 0) ASSERT_TRUE(engine.step());
  EXPECT_EQ(low->state, Sequence::State::kWaiting);
  EXPECT_EQ(old->num_generated(), young->num_generated());
  while (young->state == Sequence::State::kRunning) ASSERT_TRUE(engine.step());
  EXPECT_EQ(old->state, Sequence::State::kRunning);
  EXPECT_EQ(low->state, Sequence::State::kWaiting);
  engine.run();
  for (Sequence* s : {low, old, young}) expect_whole(s);
}

// A request that needs more than the rest could give back takes nobody's place.
TEST(SchedulerPolicy, NoPlaceIsTakenInVain) {
  FakeEngine engine(8, 512, 4, true);
  Sequence* top = engine.submit(prompt_of(250, 1), 100, 1, from("", 2));
  Sequence* low = engine.submit(prompt_of(60, 2), 20, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  Sequence* middle = engine.submit(prompt_of(400, 3), 1, 1, from("", 1));
  while (top->state == Sequence::State::kRunning) {
    ASSERT_TRUE(engine.step());
    EXPECT_EQ(engine.preemptions, 0);
  }
  engine.run();
  for (Sequence* s : {top, low, middle}) expect_whole(s);
}

TEST(SchedulerPolicy, DeadlinesEndWhatRunsAndWhatWaits) {
  FakeEngine engine(64, 64, 1, true);
  engine.step_seconds = [](int64_t, int64_t) { return 1.0; };
  Sequence* running = engine.submit(prompt_of(10, 1), 100, 1, from("", 0, 5.5));
  Sequence* waiting = engine.submit(prompt_of(10, 2), 100, 1, from("", 0, 3.5));
  Sequence* other = engine.submit(prompt_of(10, 3), 4, 1);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(waiting->state, Sequence::State::kWaiting);
  ASSERT_TRUE(engine.step());  // at 4 s
  EXPECT_EQ(waiting->state, Sequence::State::kFinished);
  EXPECT_EQ(waiting->completion.reason, FinishReason::kDeadline);
  EXPECT_EQ(waiting->completion.ids.size(), 0u);
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(running->state, Sequence::State::kRunning);
  ASSERT_TRUE(engine.step());  // at 6 s
  EXPECT_EQ(running->completion.reason, FinishReason::kDeadline);
  EXPECT_EQ(running->completion.ids.size(), 6u);
  EXPECT_EQ(other->num_generated(), 1);  // in the same step
  engine.run();
  expect_whole(other);
}

// 10 ms a row: a prompt of 100 rows does not start with 0.4 s left, and does with 0.6 s; where the tree holds 64 of them, 0.4 s
// will do.
TEST(SchedulerPolicy, WhatCannotMeetItsDeadlineDoesNotStart) {
  FakeEngine engine(64, 512, 4, true);
  engine.step_seconds = [](int64_t decode_rows, int64_t prefill_rows) {
    return 0.01 * static_cast<double>(decode_rows + prefill_rows);
  };
  for (int32_t i = 0; i < 20; ++i) engine.submit(prompt_of(10 + 10 * i, 50 + i), 2, 1);
  engine.run();
  EXPECT_NEAR(engine.scheduler.cost().seconds(0, 100), 1.0, 0.1);
  const int64_t computed = engine.computed_rows;
  Sequence* vain = engine.submit(prompt_of(100, 1), 1, 1, from("", 0, 0.4));
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(vain->completion.reason, FinishReason::kDeadline);
  EXPECT_EQ(engine.computed_rows, computed);
  Sequence* perhaps = engine.submit(prompt_of(100, 1), 1, 1, from("", 0, 0.6));
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(perhaps->num_generated(), 1);
  auto begins_alike = prompt_of(100, 1);
  begins_alike.resize(64);
  for (int i = 0; i < 36; ++i) begins_alike.push_back(i);
  Sequence* shares = engine.submit(begins_alike, 1, 1, from("", 0, 0.4));
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(shares->num_generated(), 1);
  EXPECT_FALSE(engine.step());
}

TEST(SchedulerPolicy, AHalfComputedPromptLeavesAtOnce) {
  FakeEngine engine(64, 32, 4, true);
  Sequence* s = engine.submit(prompt_of(500, 1), 10, 1);
  Sequence* other = engine.submit(prompt_of(500, 2), 10, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(s->num_computed, 96);
  engine.scheduler.remove(s);
  EXPECT_EQ(engine.blocks.num_used(), static_cast<int64_t>(other->table.blocks.size()));
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(other->num_computed, 32);  // all rows of the next step
  engine.run();
  expect_whole(other);
}

TEST(SchedulerPolicy, ClientsWithoutRequestsAreForgotten) {
  ClientQueues queues;
  std::vector<Sequence> sequences(100);
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = sequences[i];
    s.id = i;
    s.request.client = std::to_string(i % 10);
    s.tokens.assign(5, 1);
    queues.add(&s);
    s.client->served += 7;
    queues.advance();
    queues.remove(&s);
  }
  queues.advance();
  EXPECT_TRUE(queues.clients().empty());
}

}  // namespace
}  // namespace fathom
