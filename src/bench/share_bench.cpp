#include "bench/share_bench.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/progress.h"
#include "bench/engine_run.h"
#include "bench/process_stats.h"
#include "ops/attention/attention.h"

namespace fathom {
namespace {

// One engine's answers, a step at a time.
class Answers {
 public:
  Answers(Decoder& model, const ShareBenchOptions& options, bool share) : model_(model) {
    EngineConfig config;
    const int64_t each = bench_blocks(options.prompt_tokens + options.tokens);
    config.cache_blocks = options.answers * (share ? bench_blocks(options.tokens) + 1 : each) + (share ? each : 0);
    config.max_rows = std::max<int64_t>(512, 2 * options.answers);
    config.max_sequences = options.answers;
    config.prefix_sharing = share;
    engine_ = std::make_unique<Engine>(model, config);
    Request request;
    request.prompt = random_ids(model, options.prompt_tokens, 0);
    request.max_tokens = options.tokens;
    for (int64_t i = 0; i < options.answers; ++i) {
      request.sequence = static_cast<uint64_t>(i);
      ids_.push_back(engine_->submit(request, [this, first = true](int32_t, float) mutable {
        started_ += first;
        first = false;
        ++tokens_;
      }));
    }
  }
  void start() {  // to the last answer's first token
    while (started_ < ids_.size() && engine_->step()) {
    }
  }
  struct Step {
    double seconds = 0;
    int64_t tokens = 0;  // none: all is done
  };
  Step step() {
    const int64_t before = tokens_;
    model_.set_expert_reads(&reads_);
    const double begin = now_seconds();
    steps_ += engine_->step();
    const double seconds = now_seconds() - begin;
    model_.set_expert_reads(nullptr);
    return {seconds, tokens_ - before};
  }
  std::vector<Completion> take() {
    std::vector<Completion> completions;
    for (const uint64_t id : ids_) completions.push_back(engine_->take(id));
    return completions;
  }
  const EngineStats& stats() const { return engine_->stats(); }
  double peak_bytes() const { return cache_bytes(model_, static_cast<double>(stats().peak_blocks * kKeyBlock)); }
  double weight_bytes() const {  // of a step
    return dense_weight_bytes(model_, reads_) +
           static_cast<double>(reads_.bytes) / static_cast<double>(std::max<int64_t>(steps_, 1));
  }

 private:
  Decoder& model_;
  std::unique_ptr<Engine> engine_;
  std::vector<uint64_t> ids_;
  size_t started_ = 0;
  int64_t tokens_ = 0, steps_ = 0;
  ExpertReads reads_;
};

// A prompt that was computed before, with another last token each run.
void measure_hit(Decoder& model, const ShareBenchOptions& options, ShareBenchResult& result) {
  constexpr int64_t kSteps = 8;
  check_bench_positions(model.config(), options.hit_tokens + 1 + kSteps);
  EngineConfig config;
  config.cache_blocks = bench_blocks(options.hit_tokens) + (options.runs + 2) * bench_blocks(kSteps);
  Engine engine(model, config);
  Request request;
  request.sampling.temperature = 0;
  request.max_tokens = 1;
  const std::vector<int32_t> prompt = random_ids(model, options.hit_tokens, 1);
  request.prompt = prompt;
  engine.generate({request});
  std::vector<double> first, steps;
  for (int r = -1; r < options.runs; ++r) {
    request.prompt = prompt;
    request.prompt.push_back(static_cast<int32_t>((r + 1) % model.config().vocab_size));
    request.max_tokens = 1 + kSteps;
    std::vector<double> times;
    const double begin = now_seconds();
    const uint64_t id = engine.submit(request, [&times](int32_t, float) { times.push_back(now_seconds()); });
    while (engine.step()) {
    }
    engine.take(id);
    if (r < 0) continue;
    first.push_back(times[0] - begin);
    for (size_t i = 1; i < times.size(); ++i) steps.push_back(times[i] - times[i - 1]);
  }
  result.hit_s = median(first);
  result.hit_step_s = median(steps);
}

}  // namespace

ShareBenchResult bench_share(Decoder& model, const ShareBenchOptions& options) {
  check_bench_positions(model.config(), options.prompt_tokens + options.tokens);
  ShareBenchResult result;
  Answers shared(model, options, true);
  const double begin = now_seconds();
  shared.start();
  result.prompt_s = now_seconds() - begin;
  result.prompt_rows = shared.stats().prefill_rows;
  std::unique_ptr<Answers> alone;
  if (options.compare) {
    alone = std::make_unique<Answers>(model, options, false);
    alone->start();
  }
  const OthersLoad others;
  std::vector<double> seconds, alone_seconds, gains;
  for (;;) {
    const Answers::Step with = shared.step(), without = alone ? alone->step() : with;
    if (with.tokens == 0 && without.tokens == 0) break;
    if (with.tokens != options.answers || without.tokens != options.answers) continue;
    seconds.push_back(with.seconds);
    alone_seconds.push_back(without.seconds);
    gains.push_back(without.seconds / with.seconds);
  }
  result.others = others.share();
  const double answers = static_cast<double>(options.answers), prompt = static_cast<double>(options.prompt_tokens),
               half = static_cast<double>(options.tokens) / 2;
  if (!seconds.empty()) {  // answers of one token have no step
    result.step_s = median(seconds);
    result.tokens_per_s = answers / result.step_s;
  }
  result.peak_cache_bytes = shared.peak_bytes();
  result.needed_cache_bytes = cache_bytes(model, prompt + answers * static_cast<double>(options.tokens));
  result.step_bytes = shared.weight_bytes() + cache_bytes(model, prompt + answers * half);
  if (alone) {
    const std::vector<Completion> a = alone->take(), b = shared.take();
    for (size_t i = 0; i < a.size(); ++i) check_same(a[i], b[i], "sharing");
    if (!seconds.empty()) {
      result.alone_tokens_per_s = answers / median(alone_seconds);
      result.gain = median(gains);
    }
    result.alone_peak_cache_bytes = alone->peak_bytes();
    result.alone_step_bytes = shared.weight_bytes() + cache_bytes(model, answers * (prompt + half));
  }
  if (options.hit_tokens > 0) measure_hit(model, options, result);
  return result;
}

}  // namespace fathom
