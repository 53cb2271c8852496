#include "bench/speculate_bench.h"

#include <algorithm>

#include "bench/engine_run.h"
#include "bench/process_stats.h"
#include "infer/forced_drafter.h"

namespace fathom {
SpeculateBenchResult bench_speculate(Decoder& model, const SpeculateBenchOptions& options) {
  const int64_t prompt_tokens = options.prompt.empty() ? options.prompt_tokens : static_cast<int64_t>(options.prompt.size());
  const int64_t positions = prompt_tokens + options.tokens + 1;
  check_bench_positions(model.config(), positions);
  EngineConfig config;
  config.cache_blocks = 2 * options.batch * bench_blocks(positions);
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
  EngineRun plain_sum, sum;
  const auto add = [](EngineRun& to, const EngineRun& run) {
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
      request.sequence = static_cast<uint64_t>(r + 1) * 65536 + i;
      request.prompt = options.prompt.empty() ? random_ids(model, prompt_tokens, request.sequence) : options.prompt;
      request.max_tokens = options.tokens + 1;
      request.sampling.temperature = options.temperature;
    }
    const EngineRun without = run_requests(model, plain, requests);
    for (size_t i = 0; i < requests.size(); ++i) known[requests[i].sequence] = without.completions[i].ids;
    const EngineRun run = run_requests(model, with, requests);
    for (size_t i = 0; i < requests.size(); ++i) check_same(without.completions[i], run.completions[i], "speculation");
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
  const double dense = dense_weight_bytes(model, plain_sum.reads) +
                       batch * cache_bytes(model, static_cast<double>(prompt_tokens + options.tokens / 2));
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
