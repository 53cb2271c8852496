#include "bench/batched_bench.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/peak.h"
#include "base/progress.h"
#include "bench/engine_run.h"
#include "bench/process_stats.h"
#include "nn/profile.h"
#include "ops/attention/attention.h"

namespace fathom {
namespace {

constexpr int64_t kWarmUp = 8;  // tokens

}  // namespace

BatchedBenchRow bench_batched(Decoder& model, int64_t batch, const BatchedBenchOptions& options) {
  BatchedBenchRow row;
  row.batch = batch;
  row.depth = options.depth / kKeyBlock * kKeyBlock;
  row.runs = options.runs;
  const int64_t positions = row.depth + options.prompt_tokens + options.tokens + 1;
  check_bench_positions(model.config(), positions);
  EngineConfig config;
  config.cache_blocks = bench_blocks(row.depth) + 2 * batch * bench_blocks(positions - row.depth);  // a run beside the last one
  config.max_rows = std::max<int64_t>(512, batch * kKeyBlock);
  config.max_sequences = batch;
  Engine engine(model, config);
  const std::vector<int32_t> shared = random_ids(model, row.depth, 0);

  std::vector<double> prompt_rates, rates;
  EngineRun sum;
  double schedule_s = 0, sample_s = 0;
  OthersLoad others;
  const bool profiled = profile_enabled();
  for (int r = -1; r < options.runs; ++r) {
    std::vector<Request> requests(static_cast<size_t>(batch));
    for (size_t i = 0; i < requests.size(); ++i) {
      Request& request = requests[i];
      request.sampling = options.sampling;
      request.sequence = i;
      request.max_tokens = 1;
      request.prompt = shared;
      const auto own = random_ids(model, options.prompt_tokens, static_cast<uint64_t>(r + 2) * 65536 + i);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    }
    profile_enable(false);  // it shows what is timed alone
    const int64_t computed = engine.stats().prefill_rows;
    const double begin = now_seconds();
    engine.generate(requests);  // the prompts alone; asked again, they are found
    const double prompt_s = now_seconds() - begin;
    CHECK_EQ(engine.stats().prefill_rows - computed, batch * options.prompt_tokens + (r < 0 ? row.depth : 0));
    for (Request& request : requests) request.max_tokens = 1 + (r < 0 ? std::min(kWarmUp, options.tokens) : options.tokens);
    if (r == 0) {
      profile_reset();
      others = OthersLoad();
    }
    profile_enable(profiled);
    const EngineRun run = run_requests(model, engine, requests);
    if (r < 0) continue;
    prompt_rates.push_back(static_cast<double>(batch * options.prompt_tokens) / prompt_s);
    rates.push_back(static_cast<double>(run.tokens) / run.seconds);
    sum.steps += run.steps, sum.tokens += run.tokens, sum.seconds += run.seconds;
    schedule_s += run.end.schedule_seconds - run.begin.schedule_seconds;
    sample_s += run.end.sample_seconds - run.begin.sample_seconds;
    sum.reads.experts += run.reads.experts, sum.reads.bytes += run.reads.bytes;
  }
  row.others = others.share();
  row.schedule_share = schedule_s / sum.seconds;
  row.sample_share = sample_s / sum.seconds;
  row.prompt_tokens_per_s = median(prompt_rates);
  row.tokens_per_s = median(rates);
  row.spread =
      (*std::max_element(rates.begin(), rates.end()) - *std::min_element(rates.begin(), rates.end())) / row.tokens_per_s;
  const double rows_a_step = static_cast<double>(sum.tokens) / static_cast<double>(sum.steps),
               steps = static_cast<double>(sum.steps);
  row.step_s = rows_a_step / row.tokens_per_s;
  const double own = static_cast<double>(options.prompt_tokens) + static_cast<double>(options.tokens + 1) / 2,
               depth = static_cast<double>(row.depth);
  const double flops = model.forward_flops_per_token(depth + own);
  row.step_experts = static_cast<double>(sum.reads.experts) / steps;
  row.step_bytes = dense_weight_bytes(model, sum.reads) + static_cast<double>(sum.reads.bytes) / steps +
                   cache_bytes(model, depth + static_cast<double>(batch) * own);
  row.tera_flops = flops * row.tokens_per_s / 1e12;
  row.peak_share = row.tera_flops / linear_peak(model);
  row.gb_per_s = row.step_bytes / row.step_s / 1e9;
  row.bandwidth_share = row.gb_per_s * 1e9 / memory_bandwidth();
  row.memory_bound = row.bandwidth_share > row.peak_share;
  row.allowed_share = std::max(row.bandwidth_share, row.peak_share);
  row.allowed_tokens_per_s = row.tokens_per_s / row.allowed_share;
  return row;
}

}  // namespace fathom
