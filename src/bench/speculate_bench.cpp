#include "bench/speculate_bench.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/progress.h"
#include "base/rng.h"
#include "bench/infer_bench.h"
#include "bench/process_stats.h"
#include "infer/forced_drafter.h"

namespace fathom {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What a run adds to the engine's counts, behind the step that computed the prompts.
struct Run {
  std::vector<Completion> completions;
  double seconds = 0;
  int64_t steps = 0, tokens = 0;
  ExpertReads reads;
  EngineStats begin, end;
};

Run run_all(Decoder& model, Engine& engine, const std::vector<Request>& requests) {
  Run run;
  std::vector<uint64_t> ids;
  for (const Request& request : requests) ids.push_back(engine.submit(request));
  engine.step();  // the prompts
  run.begin = engine.stats();
  model.set_expert_reads(&run.reads);
  const double begin = now_seconds();
  while (engine.step()) {
  }
  run.seconds = now_seconds() - begin;
  model.set_expert_reads(nullptr);
  run.end = engine.stats();
  run.steps = run.end.steps - run.begin.steps;
  for (const uint64_t id : ids) {
    run.completions.push_back(engine.take(id));
    run.tokens += static_cast<int64_t>(run.completions.back().ids.size()) - 1;
  }
  return run;
}

void check_same(const Completion& a, const Completion& b) {
  const auto same = [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); };
  if (a.ids != b.ids || !std::equal(a.logps.begin(), a.logps.end(), b.logps.begin(), b.logps.end(), same))
    fail("bench", "speculation has changed what a request gives; this must not be: please report it with the command");
}

}  // namespace

SpeculateBenchResult bench_speculate(Decoder& model, const SpeculateBenchOptions& options) {
  const int64_t prompt_tokens = options.prompt.empty() ? options.prompt_tokens : static_cast<int64_t>(options.prompt.size());
  const int64_t positions = prompt_tokens + options.tokens + 1;
  check_bench_positions(model.config(), positions);
  EngineConfig config;
  config.cache_blocks = 2 * options.batch * (positions / kKeyBlock + 2);
  config.max_rows = std::max<int64_t>(512, options.batch * prompt_tokens);  // so that one step computes all prompts
  config.max_sequences = options.batch;
  config.num_valid = options.num_valid;
  Engine plain(model, config);
  config.speculation = options.speculation;
  KnownTokens known;
  if (options.force_acceptance >= 0)
    config.speculation.wrap = [&](std::unique_ptr<Drafter> inner) -> std::unique_ptr<Drafter> {
      return std::make_unique<ForcedDrafter>(std::move(inner), known, options.force_acceptance, model.config().vocab_size, 1);
    };
  Engine with(model, config);

  SpeculateBenchResult result;
  std::vector<double> plain_rates, rates, gains;
  Run plain_sum, sum;
  const auto add = [](Run& to, const Run& run) {
    to.seconds += run.seconds, to.steps += run.steps, to.tokens += run.tokens;
    to.reads.experts += run.reads.experts, to.reads.bytes += run.reads.bytes;
    to.end.draft_bytes += run.end.draft_bytes - run.begin.draft_bytes;
    to.end.draft_seconds += run.end.draft_seconds - run.begin.draft_seconds;
    for (size_t j = 0; j < kMaxDraft; ++j) {
      to.end.drafted[j] += run.end.drafted[j] - run.begin.drafted[j];
      to.end.accepted[j] += run.end.accepted[j] - run.begin.accepted[j];
    }
  };
  const OthersLoad others;
  for (int r = -1; r < options.runs; ++r) {
    std::vector<Request> requests(static_cast<size_t>(options.batch));
    for (size_t i = 0; i < requests.size(); ++i) {
      Request& request = requests[i];
      request.prompt = options.prompt;
      request.sequence = static_cast<uint64_t>(r + 1) * 65536 + i;
      Rng rng(2, RngStream::kTest, request.sequence);
      while (static_cast<int64_t>(request.prompt.size()) < prompt_tokens)
        request.prompt.push_back(static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(model.config().vocab_size))));
      request.max_tokens = options.tokens + 1;
      request.sampling.temperature = options.temperature;
    }
    const Run without = run_all(model, plain, requests);
    for (size_t i = 0; i < requests.size(); ++i) known[requests[i].sequence] = without.completions[i].ids;
    const Run run = run_all(model, with, requests);
    for (size_t i = 0; i < requests.size(); ++i) check_same(without.completions[i], run.completions[i]);
    if (r < 0) continue;
    add(plain_sum, without);
    add(sum, run);
    plain_rates.push_back(static_cast<double>(without.tokens) / without.seconds);
    rates.push_back(static_cast<double>(run.tokens) / run.seconds);
    gains.push_back(without.seconds / run.seconds);
  }
  result.others = others.share();
  result.plain_tokens_per_s = median(plain_rates);
  result.tokens_per_s = median(rates);
  result.gain = median(gains);
  result.least_gain = *std::min_element(gains.begin(), gains.end());
  result.most_gain = *std::max_element(gains.begin(), gains.end());
  const double plain_steps = static_cast<double>(plain_sum.steps), steps = static_cast<double>(sum.steps),
               batch = static_cast<double>(options.batch);
  const double cache = batch * static_cast<double>(prompt_tokens + options.tokens / 2) *
                       static_cast<double>(model.num_cache_layers() * model.cache_row_bytes());
  double token_experts = 0;  // bytes of the experts that one token touches
  for (int64_t l = 0; l < model.config().num_hidden_layers; ++l)
    if (model.config().is_moe_layer(l))
      token_experts += static_cast<double>(model.config().num_experts_per_tok * plain_sum.reads.bytes) /
                       static_cast<double>(plain_sum.reads.experts);
  const double dense = static_cast<double>(model.weight_bytes_per_token()) - token_experts + cache;
  result.plain_experts = static_cast<double>(plain_sum.reads.experts) / plain_steps;
  result.experts = static_cast<double>(sum.reads.experts) / steps;
  result.plain_step_bytes = dense + static_cast<double>(plain_sum.reads.bytes) / plain_steps;
  result.step_bytes = dense + static_cast<double>(sum.reads.bytes) / steps;
  result.draft_bytes = static_cast<double>(sum.end.draft_bytes) / steps;
  result.tokens_per_step = static_cast<double>(sum.tokens) / steps / batch;
  result.allowed_gain = (plain_steps * result.plain_step_bytes) / (steps * (result.step_bytes + result.draft_bytes));
  result.draft_share = sum.end.draft_seconds / sum.seconds;
  result.drafted = sum.end.drafted;
  result.accepted = sum.end.accepted;
  return result;
}

}  // namespace fathom
