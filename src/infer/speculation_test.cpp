// Speculation changes how many steps a request takes, and nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "infer/engine_testing.h"
#include "infer/forced_drafter.h"
#include "infer/model_drafter.h"
#include "infer/ngram_drafter.h"

namespace fathom {
namespace {

using Kind = SpeculationConfig::Kind;

ModelConfig tiny_with_mtp() {
  ModelConfig c = tiny_deepseek();
  c.num_nextn_predict_layers = 1;
  return c;
}
// Of the same vocabulary as the others: guesses for them.
ModelConfig tiny_draft() {
  ModelConfig c = tiny_qwen();
  c.num_hidden_layers = 1;
  return c;
}

// The models that the schedules run on, and their draft models. That of "qwen2 bf16" is a twin of its target: its guesses come
// true, also where they are drawn.
struct TestModel {
  std::string name;
  Decoder model, draft;
};
std::vector<TestModel> test_models() {
  const Numerics bf16{Compute::kBF16, MlaFormula::kExpanded};
  std::vector<TestModel> models;
  models.push_back({"deepseek f32 expanded", packed_model(tiny_with_mtp(), {Compute::kF32, MlaFormula::kExpanded}),
                    packed_model(tiny_draft(), bf16)});
  models.push_back({"deepseek bf16 absorbed", packed_model(tiny_with_mtp(), {Compute::kBF16, MlaFormula::kAbsorbed}),
                    packed_model(tiny_draft(), bf16)});
  models.push_back({"qwen2 bf16", packed_model(tiny_qwen(), bf16), packed_model(tiny_qwen(), bf16)});
  const Numerics fp8_cache{Compute::kBF16, MlaFormula::kAbsorbed, WeightFormat::kPlain, KvType::kFp8},
      int8{Compute::kBF16, MlaFormula::kExpanded, WeightFormat::kInt8Row, KvType::kInt8, Activations::kInt8};
  models.push_back(
      {"deepseek bf16 absorbed, FP8 cache", packed_model(tiny_with_mtp(), fp8_cache), packed_model(tiny_draft(), bf16)});
  models.push_back(
      {"qwen2, int8 weights, activations and cache", packed_model(tiny_qwen(), int8), packed_model(tiny_qwen(), int8)});
  return models;
}

// The first three guess themselves; over the last three lies one that knows the truth and errs at times.
enum class Guesser { kNgram, kMtp, kModel, kForced, kForcedOverMtp, kForcedOverModel, kCount };

SpeculationConfig speculation(Guesser guesser, const KnownTokens& known, double acceptance, int64_t draft_tokens,
                              Decoder* draft_model = nullptr) {
  SpeculationConfig config;
  config.draft_tokens = draft_tokens;
  config.draft_model = draft_model;
  if (guesser == Guesser::kNgram) config.kind = Kind::kNgram;
  if (guesser == Guesser::kMtp || guesser == Guesser::kForcedOverMtp) config.kind = Kind::kMtp;
  if (guesser == Guesser::kModel || guesser == Guesser::kForcedOverModel) config.kind = Kind::kModel;
  if (guesser >= Guesser::kForced)
    config.wrap = [&known, acceptance](std::unique_ptr<Drafter> inner) -> std::unique_ptr<Drafter> {
      return std::make_unique<ForcedDrafter>(std::move(inner), known, acceptance, 131, 5);
    };
  return config;
}

// Requests of one schedule: new prompts, equal ones, ones that begin alike or go on where another ended.
std::vector<Request> random_requests(Rng& rng, int64_t count, int64_t room) {
  std::vector<Request> requests;
  while (static_cast<int64_t>(requests.size()) < count) {
    Request r;
    const uint64_t kind = requests.empty() ? 2 : rng.next_below(4);
    if (kind <= 1) r.prompt = requests[rng.next_below(requests.size())].prompt;
    if (kind == 1) r.prompt.resize(1 + rng.next_below(r.prompt.size()));
    const bool repeats = rng.next_below(2) == 0;  // prompts that repeat themselves, for the look-up
    if (kind >= 1)
      for (uint64_t n = 1 + rng.next_below(kind == 1 ? 30 : 100); n-- > 0;)
        r.prompt.push_back(static_cast<int32_t>(rng.next_below(repeats ? 4 : 131)));
    if (r.prompt.size() > 140) r.prompt.resize(140);
    random_sampling(rng, r);
    r.max_tokens = std::min<int64_t>(1 + static_cast<int64_t>(rng.next_below(rng.next_below(4) == 0 ? 100 : 30)),
                                     room - static_cast<int64_t>(r.prompt.size()) + 1);
    if (rng.next_below(3) == 0) r.stop_ids = {5, 17, 40, 77};
    r.client = std::to_string(rng.next_below(3));
    r.priority = static_cast<int32_t>(rng.next_below(3));
    if (rng.next_below(6) == 0) r.deadline_seconds = 0.02 + 0.5 * rng.next_float();
    r.seed = rng.next_below(100);
    r.step = rng.next_below(3);
    r.sequence = static_cast<uint64_t>(requests.size());
    requests.push_back(std::move(r));
  }
  return requests;
}

// Env FATHOM_SPECULATION_STEPS: engine steps of the property test; 10,000 unless set, 2,000 under TSan, to keep
// its set short.
int64_t wanted_steps() {
  const char* text = std::getenv("FATHOM_SPECULATION_STEPS");
#ifdef __SANITIZE_THREAD__
  constexpr int64_t kSteps = 2000;
#else
  constexpr int64_t kSteps = 10000;
#endif
  return text ? std::max<int64_t>(1, std::atoll(text)) : kSteps;
}

class Speculation : public testing::Test {
 protected:
  ~Speculation() override { set_num_threads(1); }
};

TEST_F(Speculation, RandomSchedulesGiveEachRequestTheBitsThatItGetsAlone) {
  std::vector<TestModel> models = test_models();
  const int64_t wanted = wanted_steps();
  int64_t steps = 0, accepted = 0, drafted = 0, preemptions = 0, hits = 0, cancelled = 0, late = 0, schedules = 0, rejected = 0;
  std::array<int64_t, static_cast<size_t>(Guesser::kCount)> by_guesser{};
  for (uint64_t seed = 0; steps < wanted; ++seed, ++schedules) {
    Rng rng(seed, RngStream::kTest, 21);
    TestModel& m = models[rng.next_below(models.size())];
    EngineConfig config;
    config.cache_blocks = rng.next_below(2) == 0 ? 5 + static_cast<int64_t>(rng.next_below(4)) : 64;
    config.max_rows = rng.next_below(2) == 0 ? 4 + static_cast<int64_t>(rng.next_below(40)) : 512;
    config.max_sequences = 1 + static_cast<int64_t>(rng.next_below(10));
    config.prefix_sharing = rng.next_below(4) > 0;
    double now = 0;  // every look at the clock takes its time: deadlines pass, and the budget of a step changes
    Rng clock(seed, RngStream::kTest, 22);
    config.clock = [&] { return now += 0.004 * clock.next_float(); };
    if (rng.next_below(2) == 0) config.step_seconds = 0.003 + 0.01 * rng.next_float();
    auto requests = random_requests(rng, 6 + static_cast<int64_t>(rng.next_below(10)), 5 * kKeyBlock);
    const bool crowded = rng.next_below(2) == 0;  // outgrow together what they were admitted with
    if (crowded) {
      config.cache_blocks = 5, config.max_sequences = 10;
      requests.resize(6);
      for (Request& r : requests) {
        r.prompt.resize(std::min<size_t>(r.prompt.size(), 20));
        r.max_tokens = 100 + static_cast<int64_t>(rng.next_below(60));
        r.stop_ids.clear();
      }
    }
    Guesser guesser = static_cast<Guesser>(rng.next_below(static_cast<uint64_t>(Guesser::kCount)));
    if (!m.model.has_mtp() && guesser == Guesser::kMtp) guesser = Guesser::kModel;
    if (!m.model.has_mtp() && guesser == Guesser::kForcedOverMtp) guesser = Guesser::kForcedOverModel;
    const int64_t depth = static_cast<int64_t>(rng.next_below(kMaxDraft + 1));
    SCOPED_TRACE("schedule " + std::to_string(seed) + ", " + m.name + ", guesser " + std::to_string(static_cast<int>(guesser)) +
                 ", depth " + std::to_string(depth));
    set_num_threads(1);
    std::vector<Completion> expected;
    KnownTokens known;
    for (Request request : requests) {
      request.deadline_seconds = 0;
      expected.push_back(alone(m.model, request));
      known[request.sequence] = expected.back().ids;
    }
    set_num_threads(1 + static_cast<int>(rng.next_below(2)));
    config.speculation = speculation(guesser, known, rng.next_float(), depth, &m.draft);
    Engine engine(m.model, config);
    // They arrive over time; some are cancelled, from a callback (in the middle of a step) or between steps.
    std::vector<uint64_t> ids(requests.size());
    std::vector<size_t> seen(requests.size(), 0), limit(requests.size(), SIZE_MAX);
    std::vector<bool> cut(requests.size(), false);
    for (size_t i = 0; i < requests.size(); ++i) {
      if (rng.next_below(4) == 0) limit[i] = 1 + rng.next_below(12);
      ids[i] = engine.submit(requests[i], [&, i](int32_t, float) {
        if (++seen[i] == limit[i]) engine.cancel(ids[i]);
      });
      for (uint64_t n = crowded ? 0 : rng.next_below(4); n-- > 0;) engine.step();
      if (const size_t victim = rng.next_below(i + 1); rng.next_below(8) == 0 && !engine.finished(ids[victim])) {
        engine.cancel(ids[victim]);
        cut[victim] = true;
      }
      if (rng.next_below(40) == 0) engine.reset_cache();
    }
    while (engine.step()) {
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(i);
      const Completion got = engine.take(ids[i]);
      Completion want = expected[i];
      const bool is_late = got.reason == FinishReason::kDeadline;
      const size_t n = cut[i] || is_late ? got.ids.size() : limit[i];
      if (n < want.ids.size()) {
        cut_off(want, n);
        if (is_late) want.reason = FinishReason::kDeadline;
        ++(is_late ? late : cancelled);
      }
      EXPECT_TRUE(!is_late || requests[i].deadline_seconds > 0);
      ASSERT_EQ(seen[i], got.ids.size());
      expect_same(got, want);
      if (HasFailure()) return;
    }
    EXPECT_EQ(engine.num_used_blocks(), 0);
    const EngineStats& stats = engine.stats();
    steps += stats.steps;
    preemptions += stats.preemptions;
    hits += stats.prefix_hit_rows;
    int64_t judged = 0, right = 0;
    for (int64_t j = 0; j < kMaxDraft; ++j) judged += stats.drafted[j], right += stats.accepted[j];
    EXPECT_LE(judged, stats.draft_rows);
    by_guesser[static_cast<size_t>(guesser)] += right;
    accepted += right;
    drafted += judged;
    rejected += judged - right;
  }
  std::printf(
      "%lld engine steps in %lld schedules; %lld guesses, %lld right; %lld pre-emptions, %lld prefix hit rows, %lld "
      "cancelled, %lld late\n",
      static_cast<long long>(steps), static_cast<long long>(schedules), static_cast<long long>(drafted),
      static_cast<long long>(accepted), static_cast<long long>(preemptions), static_cast<long long>(hits),
      static_cast<long long>(cancelled), static_cast<long long>(late));
  RecordProperty("engine_steps", std::to_string(steps));
  if (wanted < 10000) return;
  EXPECT_GT(accepted, 2000);  // the test reached what it is about
  EXPECT_GT(rejected, 1000);
  for (const int64_t right : by_guesser) EXPECT_GT(right, 20);
  EXPECT_GT(preemptions, 10);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(cancelled, 100);
  EXPECT_GT(late, 20);
}

// The model's likeliest token, whatever the request draws with: a guess from another distribution than the target's.
class LikeliestDrafter : public Drafter {
 public:
  explicit LikeliestDrafter(std::vector<int32_t> likeliest) : likeliest_(std::move(likeliest)) {}
  void draft(std::span<const DraftJob> jobs) override {
    for (const DraftJob& job : jobs)
      job.sequence->draft.push_back(likeliest_[static_cast<size_t>(job.sequence->tokens.back())]);
  }

 private:
  std::vector<int32_t> likeliest_;  // by last token
};

// The second token of many seeds against the distribution that the model's probabilities give.
TEST_F(Speculation, SampledTokensFollowThePlainDistribution) {
  set_num_threads(2);
  ModelConfig c = tiny_qwen();
  c.vocab_size = 29;
  Decoder model = packed_model(c, {Compute::kF32, MlaFormula::kExpanded});
  const std::vector<int32_t> prompt = {3, 1, 4};
  const size_t vocab = 29;
  Batch batch;
  for (int32_t t = 0; t < 29; ++t) batch.add(std::vector<int32_t>{3, 1, 4, t});
  const Tensor logits = model.logits(model.forward(batch, nullptr));
  const auto probabilities = [&](int64_t row) {
    const float* x = logits.row<float>(row);
    const double top = *std::max_element(x, x + vocab);
    std::vector<double> p(vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += p[i] = std::exp(x[i] - top);
    for (double& v : p) v /= sum;
    return p;
  };
  const std::vector<double> first = probabilities(2);
  std::vector<double> expected(vocab, 0.0);
  std::vector<int32_t> likeliest;
  for (size_t t = 0; t < vocab; ++t) {
    const std::vector<double> next = probabilities(static_cast<int64_t>(4 * t + 3));
    likeliest.push_back(static_cast<int32_t>(std::max_element(next.begin(), next.end()) - next.begin()));
    for (size_t u = 0; u < vocab; ++u) expected[u] += first[t] * next[u];
  }
  EngineConfig config;
  config.cache_blocks = 600;
  config.speculation.draft_tokens = 1;
  config.speculation.wrap = [&](std::unique_ptr<Drafter>) { return std::make_unique<LikeliestDrafter>(likeliest); };
  Engine engine(model, config);
  constexpr int kDraws = 12000;
  std::vector<Request> requests(kDraws);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt = prompt;
    requests[i].max_tokens = 3;  // so that the second one has a guess
    requests[i].sequence = i;
  }
  std::vector<double> counts(vocab, 0.0);
  for (const Completion& completion : engine.generate(requests)) ++counts[static_cast<size_t>(completion.ids[1])];
  double chi_square = 0, rest_expected = 0, rest_count = 0;
  int cells = 0;
  for (size_t u = 0; u < vocab; ++u) {
    const double e = expected[u] * kDraws;
    if (e < 8) {  // too few for the approximation: together
      rest_expected += e, rest_count += counts[u];
      continue;
    }
    chi_square += (counts[u] - e) * (counts[u] - e) / e;
    ++cells;
  }
  if (rest_expected >= 8) chi_square += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected, ++cells;
  const double freedom = cells - 1;
  ASSERT_GT(freedom, 5);
  // Wilson and Hilferty: the cube root is nearly normal. 4.5 standard deviations: one seed in 300,000.
  const double z = (std::cbrt(chi_square / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
  EXPECT_LT(z, 4.5) << "chi-square " << chi_square << " with " << freedom << " degrees of freedom";
  const EngineStats& stats = engine.stats();
  EXPECT_GT(stats.drafted[0], kDraws * 9 / 10);
  EXPECT_GT(stats.accepted[0], kDraws / 20);
  EXPECT_LT(stats.accepted[0], stats.drafted[0]);
}

// A sequence at a time, no sharing: what the module computes through its cache, piece by piece, are the bits of one pass over
// the whole sequence, greedy.
TEST_F(Speculation, TheMtpModuleGuessesWhatItsLogitsSay) {
  for (const Numerics numerics :
       {Numerics{Compute::kF32, MlaFormula::kExpanded}, Numerics{Compute::kBF16, MlaFormula::kAbsorbed}}) {
    Decoder model = packed_model(tiny_with_mtp(), numerics);
    Request request;
    for (int32_t t = 0; t < 90; ++t) request.prompt.push_back(t * 37 % 131);
    request.max_tokens = 150;
    request.sampling.temperature = 0;
    const Completion plain = alone(model, request);
    std::vector<int32_t> tokens = request.prompt;
    tokens.insert(tokens.end(), plain.ids.begin(), plain.ids.end());
    Batch batch;
    batch.add(tokens);
    const Tensor logits = model.mtp_logits(batch, model.forward(batch, nullptr));
    int64_t right = 0, guesses = 0;  // of one guess a step: which steps there are depends on what came true
    for (size_t at = request.prompt.size(); at + 2 < tokens.size(); ++at, ++guesses) {  // the last token has no guess
      const float* row = logits.row<float>(static_cast<int64_t>(at) - 1);
      if (std::max_element(row, row + 131) - row == tokens[at + 1]) ++right, ++at;
    }
    EngineConfig config;
    config.cache_blocks = 8;
    config.max_rows = 40;  // the prompt in pieces
    config.speculation = speculation(Guesser::kMtp, {}, 0, 1);
    Engine engine(model, config);
    expect_same(engine.generate({request})[0], plain);
    EXPECT_EQ(engine.stats().drafted[0], guesses);
    EXPECT_EQ(engine.stats().accepted[0], right);
  }
}

TEST_F(Speculation, ATwinAsDraftModelIsAlwaysRight) {
  set_num_threads(2);
  TestModel m = std::move(test_models()[2]);
  std::vector<Request> requests(12);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt = {1, 2, static_cast<int32_t>(i % 3)};
    requests[i].prompt.resize(3 + 17 * (i % 5), 9);
    requests[i].max_tokens = 40;
    requests[i].sequence = i;
    requests[i].sampling.temperature = i % 2 == 0 ? 1.f : 0.f;
    if (i % 3 == 0) requests[i].sampling.frequency_penalty = 0.7f, requests[i].sampling.repetition_penalty = 1.2f;
  }
  EngineConfig config;
  config.cache_blocks = 100;
  config.speculation = speculation(Guesser::kModel, {}, 0, 3, &m.draft);
  Engine engine(m.model, config);
  const auto completions = engine.generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) expect_same(completions[i], alone(m.model, requests[i]));
  for (size_t j = 0; j < 3; ++j) {
    EXPECT_GT(engine.stats().drafted[j], 50);
    EXPECT_EQ(engine.stats().accepted[j], engine.stats().drafted[j]);
  }
}

TEST_F(Speculation, ADraftModelReturnsItsBlocksAndMakesRoom) {
  Decoder model = packed_model(tiny_draft(), {Compute::kF32, MlaFormula::kExpanded});
  ModelDrafter drafter(model, /*num_blocks=*/2, 131);
  Sequence a, b, c;
  a.id = 1, b.id = 2, c.id = 3;
  a.tokens.assign(100, 5);
  b.tokens.assign(10, 6);
  c.tokens.assign(150, 7);
  const auto guess = [&](Sequence& s) {
    s.draft.clear();
    const DraftJob job{&s, 2};
    drafter.draft({&job, 1});
    return s.draft.size();
  };
  EXPECT_EQ(guess(a), 2u);
  EXPECT_EQ(drafter.num_used_blocks(), 2);
  EXPECT_EQ(guess(b), 2u);  // a's places
  EXPECT_EQ(drafter.num_used_blocks(), 1);
  EXPECT_EQ(guess(c), 0u);  // does not fit at all
  EXPECT_EQ(guess(a), 2u);
  drafter.forget(a);
  drafter.forget(b);
  drafter.forget(c);
  EXPECT_EQ(drafter.num_used_blocks(), 0);
  EXPECT_THROW(ModelDrafter(model, 2, 132), Error);
}

TEST_F(Speculation, RightGuessesSaveSteps) {
  Decoder model = packed_model(tiny_deepseek(), {Compute::kF32, MlaFormula::kExpanded});
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 61;
  KnownTokens known;
  known[0] = alone(model, request).ids;
  EngineConfig config;
  config.cache_blocks = 8;
  config.speculation = speculation(Guesser::kForced, known, /*acceptance=*/1, /*draft_tokens=*/4);
  Engine engine(model, config);
  EXPECT_EQ(engine.generate({request})[0].ids, known[0]);
  EXPECT_EQ(engine.stats().steps, 1 + 60 / 5);
  EXPECT_EQ(engine.stats().decode_rows, 12);
  EXPECT_EQ(engine.stats().draft_rows, 48);
  for (int64_t j = 0; j < kMaxDraft; ++j) {
    EXPECT_EQ(engine.stats().drafted[static_cast<size_t>(j)], j < 4 ? 12 : 0) << j;
    EXPECT_EQ(engine.stats().accepted[static_cast<size_t>(j)], j < 4 ? 12 : 0) << j;
  }
}

// A draw behind guesses that come true sees them: were they missing from what a penalty counts, the text would change.
TEST_F(Speculation, PenaltiesSeeTheGuessesBeforeTheirRow) {
  Decoder model = packed_model(tiny_deepseek(), {Compute::kF32, MlaFormula::kExpanded});
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 61;
  request.sampling.temperature = 0;
  const std::vector<int32_t> without = alone(model, request).ids;
  request.sampling.presence_penalty = 100;  // nothing comes twice
  const Completion plain = alone(model, request);
  std::vector<int32_t> distinct = plain.ids;
  std::sort(distinct.begin(), distinct.end());
  EXPECT_EQ(std::adjacent_find(distinct.begin(), distinct.end()), distinct.end());
  EXPECT_NE(plain.ids, without);
  for (const bool all_right : {true, false}) {
    KnownTokens known;
    known[0] = all_right ? plain.ids : without;
    EngineConfig config;
    config.cache_blocks = 8;
    config.speculation = speculation(Guesser::kForced, known, /*acceptance=*/1, /*draft_tokens=*/4);
    Engine engine(model, config);
    expect_same(engine.generate({request})[0], plain);
    if (all_right) {
      EXPECT_EQ(engine.stats().steps, 1 + 60 / 5);
    }
  }
}

TEST_F(Speculation, AStopTokenAmongRightGuessesEndsTheRequest) {
  Decoder model = packed_model(tiny_qwen(), {Compute::kF32, MlaFormula::kExpanded});
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 40;
  request.stop_ids = {};
  const auto whole = alone(model, request).ids;
  for (size_t at = 1; at < 12; ++at) {
    Request r = request;
    r.stop_ids = {whole[at]};
    const Completion want = alone(model, r);
    KnownTokens known;
    known[0] = whole;
    EngineConfig config;
    config.cache_blocks = 8;
    config.speculation = speculation(Guesser::kForced, known, 1, 5);
    Engine engine(model, config);
    expect_same(engine.generate({r})[0], want);
    EXPECT_EQ(engine.num_used_blocks(), 0);
  }
}

// Hundreds of requests (a third as many under TSan) come, fork and go; at the end no block is held, whatever was guessed.
TEST_F(Speculation, ASoakOfForksAndCancellationsReturnsEveryBlock) {
#ifdef __SANITIZE_THREAD__
  constexpr int kRounds = 50;
#else
  constexpr int kRounds = 150;
#endif
  set_num_threads(2);
  Decoder model = packed_model(tiny_with_mtp(), {Compute::kBF16, MlaFormula::kAbsorbed});
  for (const Guesser guesser : {Guesser::kNgram, Guesser::kMtp}) {
    SCOPED_TRACE(static_cast<int>(guesser));
    EngineConfig config;
    config.cache_blocks = 40;
    config.max_sequences = 24;
    config.speculation = speculation(guesser, {}, 0, 4);
    Engine engine(model, config);
    Rng rng(31, RngStream::kTest);
    std::vector<uint64_t> open;
    int64_t finished = 0;
    for (int round = 0; round < kRounds; ++round) {
      Request r;
      for (uint64_t n = 1 + rng.next_below(130); n-- > 0;) r.prompt.push_back(static_cast<int32_t>(rng.next_below(5)));
      for (uint64_t i = 0, group = 1 + rng.next_below(6); i < group; ++i) {
        r.max_tokens = 1 + static_cast<int64_t>(rng.next_below(60));
        r.sequence = static_cast<uint64_t>(round) * 8 + i;
        r.sampling.temperature = i == 0 ? 0.f : 0.5f;
        open.push_back(engine.submit(r));
      }
      for (uint64_t n = rng.next_below(12); n-- > 0;) engine.step();
      for (uint64_t n = rng.next_below(4); n-- > 0 && !open.empty();) engine.cancel(open[rng.next_below(open.size())]);
      std::erase_if(open, [&](uint64_t id) {
        if (!engine.finished(id)) return false;
        engine.take(id);
        ++finished;
        return true;
      });
    }
    while (engine.step()) {
    }
    for (const uint64_t id : open) engine.take(id), ++finished;
    EXPECT_EQ(engine.num_used_blocks(), 0);
    EXPECT_GT(finished, 2 * kRounds);
    EXPECT_GT(engine.stats().accepted[0], guesser == Guesser::kNgram ? kRounds * 2 / 3 : kRounds / 15);
    EXPECT_GT(engine.stats().prefix_hit_rows, 20 * kRounds / 3);
  }
}

TEST_F(Speculation, PromptLookUpFindsTheLongestLatestMatch) {
  const auto guess = [](std::vector<int32_t> tokens, int64_t count) {
    Sequence sequence;
    sequence.tokens = std::move(tokens);
    NgramDrafter drafter(2, 4);
    const DraftJob job{&sequence, count};
    drafter.draft({&job, 1});
    return sequence.draft;
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(guess({1, 2, 3, 9, 2, 3}, 2), (Ids{9, 2}));
  EXPECT_EQ(guess({5, 1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3}, 1), (Ids{7}));  // three tokens match, not the later two
  EXPECT_EQ(guess({1, 2, 7, 1, 2, 8, 1, 2}, 1), (Ids{8}));              // the latest
  EXPECT_EQ(guess({4, 1, 2, 1, 2}, 5), (Ids{1, 2, 1, 2, 1}));           // goes on repeating
  EXPECT_EQ(guess({1, 2, 3, 4}, 3), (Ids{}));
  EXPECT_EQ(guess({1, 3}, 3), (Ids{}));
  EXPECT_EQ(guess({1}, 3), (Ids{}));
}

TEST_F(Speculation, RefusesWhatCannotBe) {
  Decoder model = packed_model(tiny_qwen(), {Compute::kF32, MlaFormula::kExpanded});
  EngineConfig config;
  config.cache_blocks = 8;
  config.speculation.kind = Kind::kNgram;
  config.speculation.draft_tokens = kMaxDraft + 1;
  EXPECT_THROW(Engine(model, config), Error);
  config.speculation.draft_tokens = -1;
  EXPECT_THROW(Engine(model, config), Error);
  config.speculation.draft_tokens = 1;
  config.speculation.kind = Kind::kMtp;
  EXPECT_THROW(Engine(model, config), Error);  // has no MTP module
}

}  // namespace
}  // namespace fathom
