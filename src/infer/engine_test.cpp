// Strictness: what a request gives does not depend on what else runs, on chunking, sharing, pre-emption or threads.
#include "infer/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "infer/engine_testing.h"
#include "kernels/log_sum_exp.h"

namespace fathom {
namespace {

struct Case {
  const char* name;
  ModelConfig (*config)();
  Compute compute;
  MlaFormula mla;
};
const Case kCases[] = {
    {"deepseek_f32_expanded", tiny_deepseek, Compute::kF32, MlaFormula::kExpanded},
    {"deepseek_f32_absorbed", tiny_deepseek, Compute::kF32, MlaFormula::kAbsorbed},
    {"deepseek_bf16_expanded", tiny_deepseek, Compute::kBF16, MlaFormula::kExpanded},
    {"deepseek_bf16_absorbed", tiny_deepseek, Compute::kBF16, MlaFormula::kAbsorbed},
    {"qwen2_f32", tiny_qwen, Compute::kF32, MlaFormula::kExpanded},
    {"qwen2_bf16", tiny_qwen, Compute::kBF16, MlaFormula::kExpanded},
};

Decoder make_model(const Case& c) { return packed_model(c.config(), Numerics{c.compute, c.mla}); }

// 64 requests: lengths from 1 to 150, equal prompts, prompts that begin alike, all kinds of sampling, stop tokens.
std::vector<Request> mixed_requests(int64_t vocab) {
  Rng rng(11, RngStream::kTest);
  std::vector<Request> requests;
  while (requests.size() < 64) {
    Request r;
    const uint64_t kind = requests.empty() ? 2 : rng.next_below(4);
    if (kind <= 1) r.prompt = requests[rng.next_below(requests.size())].prompt;  // equal, or begins alike
    if (kind == 1) r.prompt.resize(1 + rng.next_below(r.prompt.size()));
    if (kind >= 1)
      for (uint64_t n = 1 + rng.next_below(kind == 1 ? 40 : 110); n-- > 0;)
        r.prompt.push_back(static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(vocab))));
    if (r.prompt.size() > 150) r.prompt.resize(150);
    random_sampling(rng, r);
    r.max_tokens = 1 + static_cast<int64_t>(rng.next_below(40));
    if (rng.next_below(2) == 0) r.stop_ids = {5, 17, 40};
    r.client = std::to_string(rng.next_below(3));
    if (requests.size() < 6)  // start together, and outgrow what they were admitted with
      r.max_tokens = 160, r.stop_ids = {}, r.priority = 1;
    r.seed = 3;
    r.step = rng.next_below(3);
    r.sequence = rng.next_below(1000);
    requests.push_back(std::move(r));
  }
  return requests;
}

std::vector<Completion> alone(Decoder& model, const std::vector<Request>& requests) {
  std::vector<Completion> completions;
  for (const Request& request : requests) completions.push_back(alone(model, request));
  return completions;
}

class EngineStrict : public testing::TestWithParam<Case> {
 protected:
  ~EngineStrict() override { set_num_threads(1); }
};

TEST_P(EngineStrict, ABatchGivesEachRequestTheBitsThatItGetsAlone) {
  set_num_threads(1);
  Decoder model = make_model(GetParam());
  const auto requests = mixed_requests(model.config().vocab_size);
  const auto expected = alone(model, requests);
  std::vector<std::vector<int32_t>> distinct;
  for (const Completion& c : expected) distinct.push_back(c.ids);
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  EXPECT_GT(distinct.size(), 32u);  // the model says different things: equality means something

  struct Setting {
    const char* name;
    int threads;
    bool sharing;
    int64_t max_rows, blocks;
  };
  for (const Setting& s : {Setting{"plain", 1, false, 512, 400},
                           {"shared", 1, true, 512, 400},
                           {"two threads", 2, false, 512, 400},
                           {"two threads, shared", 2, true, 512, 400},
                           {"chunks of a few rows", 2, true, 13, 400},
                           {"chunks, not shared", 1, false, 13, 400},
                           {"small cache", 2, true, 200, 6},
                           {"small cache, not shared", 1, false, 200, 6}}) {
#ifdef __SANITIZE_THREAD__
    if (s.threads == 1) continue;  // nobody to race with
#endif
    SCOPED_TRACE(s.name);
    set_num_threads(s.threads);
    EngineConfig config;
    config.cache_blocks = s.blocks;
    config.max_rows = s.max_rows;
    config.prefix_sharing = s.sharing;
    Engine engine(model, config);
    // A third of them is cancelled on the way, after a few tokens: what they have by then is a beginning of the whole.
    std::vector<uint64_t> ids(requests.size());
    std::vector<size_t> seen(requests.size(), 0);
    for (size_t i = 0; i < requests.size(); ++i)
      ids[i] = engine.submit(requests[i], [&, i](int32_t, float) {
        if (++seen[i] == 4 && i % 3 == 0) engine.cancel(ids[i]);
      });
    while (engine.step()) {
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(i);
      Completion want = expected[i];
      if (i % 3 == 0 && want.ids.size() > 4) {
        cut_off(want, 4);
      }
      expect_same(engine.take(ids[i]), want);
      if (HasFatalFailure()) return;
    }
    if (s.blocks == 6) {
      EXPECT_GT(engine.stats().preemptions, 0);
    }
    if (s.sharing && s.blocks > 6) {
      EXPECT_GT(engine.stats().prefix_hit_rows, 500);
    }
    if (!s.sharing) {
      EXPECT_EQ(engine.stats().prefix_hit_rows, 0);
    }
  }
}

TEST_P(EngineStrict, LogProbabilitiesAreTheTrainers) {
  Decoder model = make_model(GetParam());
  set_num_threads(2);
  auto requests = mixed_requests(model.config().vocab_size);
  const auto completions = Engine(model, EngineConfig{.cache_blocks = 400, .max_rows = 100}).generate(requests);
  Batch batch;
  std::vector<int32_t> targets;
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int32_t> tokens = requests[i].prompt;
    tokens.insert(tokens.end(), completions[i].ids.begin(), completions[i].ids.end());
    batch.add(tokens);
    for (size_t t = 0; t < tokens.size(); ++t)
      targets.push_back(t + 1 < tokens.size() && t + 1 >= requests[i].prompt.size() ? tokens[t + 1] : -1);
  }
  const std::vector<float> trainer = model.token_log_probs(batch, targets);
  size_t row = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    row += requests[i].prompt.size() - 1;
    expect_same_bits(completions[i].logps,
                     std::vector<float>(trainer.begin() + static_cast<int64_t>(row),
                                        trainer.begin() + static_cast<int64_t>(row + completions[i].ids.size())));
    if (HasFatalFailure()) return;
    row += completions[i].ids.size() + 1;
  }
}

// Every token of every request, drawn again from the logits of one pass over its whole text.
TEST_P(EngineStrict, PenaltiesSeeThePromptAndTheAnswerSoFar) {
  Decoder model = make_model(GetParam());
  set_num_threads(2);
  auto requests = mixed_requests(model.config().vocab_size);
  requests.resize(24);
  int64_t adjusting = 0;
  for (const Request& r : requests) adjusting += r.sampling.adjusts_logits();
  ASSERT_GT(adjusting, 8);
  const auto completions = Engine(model, EngineConfig{.cache_blocks = 400, .max_rows = 100}).generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    const Completion& c = completions[i];
    std::vector<int32_t> tokens = r.prompt;
    tokens.insert(tokens.end(), c.ids.begin(), c.ids.end());
    Batch batch;
    batch.add(tokens);
    const Tensor logits = model.logits(model.forward(batch, nullptr));
    for (size_t n = 0; n < c.ids.size(); ++n) {
      const std::span<const float> row(logits.row<float>(static_cast<int64_t>(r.prompt.size() + n) - 1), 131);
      const float uniform = Rng(r.seed, RngStream::kSample, r.step, r.sequence, n).next_float();
      const SampledToken token = sample_token(row, 131, r.sampling, uniform, {r.prompt, std::span(c.ids).first(n)});
      ASSERT_EQ(token.id, c.ids[n]) << i << " " << n;
      ASSERT_EQ(token.sampling_logp, c.sampling_logps[n]) << i << " " << n;
      if (r.top_logprobs > 0) {
        ASSERT_EQ(c.top_logprobs[n][0].logp, *std::max_element(row.begin(), row.end()) - row_log_sum_exp(row.data(), 131));
      }
    }
    EXPECT_EQ(c.top_logprobs.size(), r.top_logprobs > 0 ? c.ids.size() : 0);
  }
}

TEST_P(EngineStrict, AGroupComputesItsPromptOnce) {
  Decoder model = make_model(GetParam());
  Engine engine(model, EngineConfig{.cache_blocks = 100});
  std::vector<Request> group;
  for (uint64_t i = 0; i < 8; ++i) {
    Request r;
    for (int32_t t = 0; t < 100; ++t) r.prompt.push_back(t * 37 % 131);
    r.max_tokens = 5;
    r.sequence = i;
    group.push_back(r);
  }
  engine.generate(group);
  EXPECT_EQ(engine.stats().prefill_rows, 100);
  EXPECT_EQ(engine.stats().prefix_hit_rows, 700);
  EXPECT_EQ(engine.stats().decode_rows, 8 * 4);
}

TEST_P(EngineStrict, NewWeightsNeedResetCache) {
  const Case& c = GetParam();
  Decoder model = make_model(c);
  Engine engine(model, EngineConfig{.cache_blocks = 100});
  const auto requests = mixed_requests(model.config().vocab_size);
  engine.generate({requests[0]});
  model.init_weights(8, 0.15);
  model.prepack();
  engine.reset_cache();
  expect_same(engine.generate({requests[0]})[0], alone(model, requests[0]));
}

INSTANTIATE_TEST_SUITE_P(Models, EngineStrict, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Engine, RefusesWhatCannotBeDone) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 2});
  auto request = [](std::vector<int32_t> prompt, int64_t max_tokens) {
    Request r;
    r.prompt = std::move(prompt);
    r.max_tokens = max_tokens;
    return r;
  };
  EXPECT_THROW(engine.submit(request({}, 1)), Error);
  EXPECT_THROW(engine.submit(request({1, 131}, 1)), Error);
  EXPECT_THROW(engine.submit(request({1, -1}, 1)), Error);
  EXPECT_THROW(engine.submit(request({1}, 0)), Error);
  EXPECT_THROW(engine.submit(request({1, 2, 3}, 127)), Error);  // 129 positions, 128 fit
  EXPECT_EQ(engine.generate({request({1, 2, 3}, 126)})[0].ids.size(), 126u);
  EXPECT_THROW(engine.generate({request({1}, 1), request({}, 1)}), Error);
  EXPECT_FALSE(engine.step());  // nothing was left behind
  Request late = request({1}, 1);
  late.deadline_seconds = -1;
  EXPECT_THROW(engine.submit(late), Error);
}

TEST(Engine, APromptBeyondTheContextIsNamedWithItsCounts) {
  Decoder model = make_model(kCases[4]);  // of 1,024 positions
  Request r;
  r.prompt.assign(1000, 1);
  r.max_tokens = 25;
  Engine engine(model, EngineConfig{.cache_blocks = 64});
  try {
    engine.submit(r);
    FAIL() << "1,025 positions were taken";
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"1000", "25", "1024", "max_position_embeddings"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  r.max_tokens = 24;
  EXPECT_EQ(engine.generate({r})[0].ids.size(), 24u);
  r.max_tokens = 25;
  EXPECT_EQ(Engine(model, EngineConfig{.cache_blocks = 64, .max_positions = 1025}).generate({r})[0].ids.size(), 25u);
}

TEST(Engine, CancellingAHalfComputedPromptReturnsItsBlocksAtOnce) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 20, .max_rows = 64});
  Request r;
  for (int32_t t = 0; t < 500; ++t) r.prompt.push_back(t * 37 % 131);
  r.max_tokens = 10;
  const uint64_t id = engine.submit(r);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.step());
  EXPECT_EQ(engine.stats().prefill_rows, 3 * 64);
  EXPECT_GE(engine.num_used_blocks(), 3);
  engine.cancel(id);
  EXPECT_TRUE(engine.finished(id));
  EXPECT_EQ(engine.num_used_blocks(), 0);
  EXPECT_FALSE(engine.step());
  const Completion cut = engine.take(id);
  EXPECT_EQ(cut.reason, FinishReason::kCancelled);
  EXPECT_TRUE(cut.ids.empty());
  expect_same(engine.generate({r})[0], alone(model, r, 20));  // what was computed is found, and right
  EXPECT_EQ(engine.stats().prefill_rows, 500);
}

// Cancelled from another request's callback, in the middle of a step: the prompt has no row in the next one.
TEST(Engine, CancellingInsideOfAStepTakesEffectWithIt) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 20, .max_rows = 64});
  uint64_t long_one = 0;
  Request talks;
  talks.prompt = {1, 2, 3};
  talks.max_tokens = 5;
  const uint64_t id = engine.submit(talks, [&](int32_t, float) { engine.cancel(long_one); });
  Request r;
  r.prompt.assign(500, 1);
  long_one = engine.submit(r);
  ASSERT_TRUE(engine.step());
  EXPECT_EQ(engine.stats().prefill_rows, 64);
  EXPECT_TRUE(engine.finished(long_one));
  EXPECT_EQ(engine.num_used_blocks(), 1);
  while (engine.step()) {
  }
  EXPECT_EQ(engine.stats().prefill_rows, 64);
  expect_same(engine.take(id), alone(model, talks));
}

TEST(Engine, ADeadlineEndsARequestWithWhatItHas) {
  Decoder model = make_model(kCases[4]);
  double now = 0;
  Engine engine(model, EngineConfig{.cache_blocks = 20, .max_sequences = 1, .clock = [&] { return now; }});
  Request r;
  r.prompt = {1, 2, 3};
  r.max_tokens = 50;
  r.deadline_seconds = 6.5;
  Request waits = r;
  waits.deadline_seconds = 3.5;
  const uint64_t runs_id = engine.submit(r), waits_id = engine.submit(waits);
  Completion want = alone(model, r);
  while (engine.step()) now += 1;
  const Completion late = engine.take(runs_id), never = engine.take(waits_id);
  want.ids.resize(7), want.logps.resize(7), want.sampling_logps.resize(7);
  want.reason = FinishReason::kDeadline;
  expect_same(late, want);
  EXPECT_EQ(never.reason, FinishReason::kDeadline);
  EXPECT_TRUE(never.ids.empty());
  EXPECT_EQ(engine.num_used_blocks(), 0);
}

TEST(Engine, RefusesSamplingThatCannotBe) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 2});
  const auto refused = [&](const char* field, auto&& change) {
    Request r;
    r.prompt = {1};
    r.max_tokens = 1;
    change(r);
    try {
      engine.submit(r);
      ADD_FAILURE() << field << " was taken";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(field), std::string::npos) << e.what();
    }
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refused("temperature", [&](Request& r) { r.sampling.temperature = nan; });
  refused("temperature", [&](Request& r) { r.sampling.temperature = -0.1f; });
  refused("top_k", [&](Request& r) { r.sampling.top_k = -1; });
  refused("top_p", [&](Request& r) { r.sampling.top_p = 1.1f; });
  refused("min_p", [&](Request& r) { r.sampling.min_p = -0.1f; });
  refused("typical_p", [&](Request& r) { r.sampling.typical_p = nan; });
  refused("repetition_penalty", [&](Request& r) { r.sampling.repetition_penalty = 0; });
  refused("presence_penalty", [&](Request& r) { r.sampling.presence_penalty = nan; });
  refused("frequency_penalty", [&](Request& r) { r.sampling.frequency_penalty = 1e9f; });
  refused("logit_bias has the id 131", [&](Request& r) { r.sampling.logit_bias = {{131, 1.f}}; });
  refused("logit_bias of id 3", [&](Request& r) { r.sampling.logit_bias = {{3, nan}}; });
  refused("top_logprobs", [&](Request& r) { r.top_logprobs = 132; });
  EXPECT_FALSE(engine.step());
}

TEST(Engine, PaddingOfTheVocabularyIsNeverDrawn) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 100, .num_valid = 20});
  auto requests = mixed_requests(model.config().vocab_size);
  for (const Completion& c : engine.generate(requests))
    for (const int32_t id : c.ids) EXPECT_LT(id, 20);
}

TEST(Engine, StopTokenEndsAndStays) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 100});
  Request r;
  r.prompt = {1, 2, 3};
  r.max_tokens = 20;
  r.sampling.temperature = 0;
  const auto whole = engine.generate({r})[0];
  EXPECT_EQ(whole.reason, FinishReason::kLength);
  r.stop_ids = {whole.ids[7]};
  const auto stopped = engine.generate({r})[0];
  EXPECT_EQ(stopped.reason, FinishReason::kStop);
  EXPECT_EQ(stopped.ids.back(), whole.ids[7]);
  EXPECT_LE(stopped.ids.size(), 8u);
}

TEST(Engine, TheStepsTimeIsTheSumOfItsParts) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 400});
  for (const Request& request : mixed_requests(131)) engine.submit(request);
  const double begin = now_seconds();
  while (engine.step()) {
  }
  const double whole = now_seconds() - begin;
  const EngineStats& s = engine.stats();
  EXPECT_EQ(s.draft_seconds, 0);
  for (const double part : {s.schedule_seconds, s.forward_seconds, s.sample_seconds}) EXPECT_GT(part, 0);
  EXPECT_LE(s.schedule_seconds + s.forward_seconds + s.sample_seconds, whole * (1 + 1e-9));
}

TEST(Engine, GenerateStopsEarlyOnRequest) {
  Decoder model = make_model(kCases[4]);
  Engine engine(model, EngineConfig{.cache_blocks = 400});
  int steps = 0;
  const auto completions = engine.generate(mixed_requests(131), nullptr, [&] { return ++steps == 3; });
  EXPECT_EQ(completions.size(), 64u);
  int cancelled = 0;
  for (const Completion& c : completions) cancelled += c.reason == FinishReason::kCancelled;
  EXPECT_GT(cancelled, 10);
  EXPECT_FALSE(engine.step());
}

}  // namespace
}  // namespace fathom
