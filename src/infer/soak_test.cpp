// Many requests of every kind through one engine with a tiny cache: every block comes back, no request stays behind, and what
// comes out is what each gives alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "infer/engine_testing.h"

namespace fathom {
namespace {

// Env FATHOM_SOAK_REQUESTS: 10,000 unless set, 1,000 under a sanitizer. TSan passes over it: it is one thread.
int64_t wanted_requests() {
  const char* text = std::getenv("FATHOM_SOAK_REQUESTS");
#ifdef __SANITIZE_ADDRESS__
  constexpr int64_t kRequests = 1000;
#else
  constexpr int64_t kRequests = 10000;
#endif
  return text ? std::max<int64_t>(1, std::atoll(text)) : kRequests;
}

constexpr int64_t kBlocks = 12;

// Groups of equal prompts, prompts that begin alike, new ones; answers that outgrow what they were admitted with.
class Asker {
 public:
  explicit Asker(Rng& rng) : rng_(rng) {}
  Request next() {
    if (group_left_ == 0) {
      group_left_ = below(4) == 0 ? 2 + static_cast<int64_t>(below(7)) : 1;
      if (below(2) == 0 || prompt_.empty()) {
        prompt_.clear();
      } else {
        prompt_.resize(1 + below(prompt_.size()));
      }
      for (uint64_t n = 1 + below(below(8) == 0 ? 150 : 30); n-- > 0;) prompt_.push_back(static_cast<int32_t>(below(131)));
      if (prompt_.size() > 250) prompt_.resize(250);
    }
    --group_left_;
    Request r;
    r.prompt = prompt_;
    r.max_tokens = 1 + static_cast<int64_t>(below(below(10) == 0 ? 200 : 12));
    r.sampling.temperature = below(3) == 0 ? 0.f : 1.f;
    if (below(4) == 0) r.stop_ids = {5, 17, 40};
    r.seed = 7;
    r.sequence = next_++;
    r.client = std::to_string(below(5));
    r.priority = below(10) == 0 ? 1 : 0;
    if (below(12) == 0) r.deadline_seconds = 0.01 + 0.2 * rng_.next_float();
    return r;
  }

 private:
  uint64_t below(uint64_t n) { return rng_.next_below(n); }
  Rng& rng_;
  std::vector<int32_t> prompt_;
  int64_t group_left_ = 0;
  uint64_t next_ = 0;
};

TEST(Soak, EveryBlockComesBack) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "there is one thread here, which has nobody to race with";
#endif
  set_num_threads(1);
  ModelConfig small = tiny_qwen();
  small.num_hidden_layers = 1;
  Decoder model = packed_model(small, {Compute::kF32, MlaFormula::kExpanded});
  Rng rng(41, RngStream::kTest);
  double now = 0;
  EngineConfig config;
  config.cache_blocks = kBlocks;
  config.max_rows = 96;
  config.max_sequences = 24;
  config.step_seconds = 0.004;
  config.clock = [&] { return now += 0.0005; };
  config.speculation.kind = SpeculationConfig::Kind::kNgram;
  config.speculation.draft_tokens = 2;
  Engine engine(model, config);
  Asker asker(rng);
  const int64_t wanted = wanted_requests();
  struct Open {
    uint64_t id;
    Request request;
  };
  std::vector<Open> open;
  std::unordered_map<uint64_t, size_t> limits;
  std::array<int64_t, 4> by_reason{};
  int64_t refused = 0, compared = 0;
  const auto collect = [&] {
    std::erase_if(open, [&](const Open& o) {
      if (!engine.finished(o.id)) return false;
      const Completion got = engine.take(o.id);
      ++by_reason[static_cast<size_t>(got.reason)];
      if (o.request.sequence % 40 == 0) {
        Request same = o.request;
        same.deadline_seconds = 0;
        Completion want = alone(model, same, kBlocks);
        if (got.reason == FinishReason::kCancelled || got.reason == FinishReason::kDeadline) {
          cut_off(want, got.ids.size());
          want.reason = got.reason;
        }
        expect_same(got, want);
        ++compared;
      }
      return true;
    });
  };
  for (int64_t sent = 0; sent < wanted && !HasFailure();) {
    const uint64_t burst = 1 + rng.next_below(6);
    for (uint64_t i = 0; i < burst; ++i, ++sent) {
      Request r = asker.next();
      const uint64_t sequence = r.sequence;
      if (rng.next_below(8) == 0) limits[sequence] = 1 + rng.next_below(6);  // cancelled from its callback
      const auto id = std::make_shared<uint64_t>(0);
      *id = engine.submit(r, [&engine, &limits, sequence, id, seen = size_t{0}](int32_t, float) mutable {
        const auto limit = limits.find(sequence);
        if (limit != limits.end() && ++seen == limit->second) engine.cancel(*id);
      });
      open.push_back({*id, std::move(r)});
    }
    if (rng.next_below(20) == 0) {  // beyond the cache, and beyond the model's 1,024 positions
      Request r;
      r.prompt.assign(rng.next_below(2) == 0 ? 10 : 1020, 1);
      r.max_tokens = kBlocks * kKeyBlock;
      EXPECT_THROW(engine.submit(r), Error);
      ++refused;
    }
    for (uint64_t n = rng.next_below(12); n-- > 0;) engine.step();
    if (rng.next_below(3) == 0) engine.cancel(open[rng.next_below(open.size())].id);  // waiting, in its prompt, decoding, done
    if (rng.next_below(400) == 0) engine.reset_cache();
    collect();
    while (engine.num_requests() > 200) {  // not faster than they are answered
      ASSERT_TRUE(engine.step());
      collect();
    }
  }
  while (engine.step()) {
  }
  collect();
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(engine.num_requests(), 0);
  EXPECT_EQ(engine.num_used_blocks(), 0);
  engine.reset_cache();
  const EngineStats& stats = engine.stats();
  std::printf(
      "%lld requests in %lld steps: %lld stop, %lld length, %lld cancelled, %lld late; %lld refused; %lld pre-emptions, %lld "
      "prefix hit rows; %lld compared\n",
      static_cast<long long>(wanted), static_cast<long long>(stats.steps), static_cast<long long>(by_reason[0]),
      static_cast<long long>(by_reason[1]), static_cast<long long>(by_reason[2]), static_cast<long long>(by_reason[3]),
      static_cast<long long>(refused), static_cast<long long>(stats.preemptions), static_cast<long long>(stats.prefix_hit_rows),
      static_cast<long long>(compared));
  if (wanted < 1000) return;
  for (const int64_t n : by_reason) EXPECT_GT(n, wanted / 100);
  EXPECT_GT(stats.preemptions, wanted / 50);
  EXPECT_GT(stats.prefix_hit_rows, wanted);
  EXPECT_GT(refused, wanted / 200);
  EXPECT_GE(compared, wanted / 40);
}

}  // namespace
}  // namespace fathom
