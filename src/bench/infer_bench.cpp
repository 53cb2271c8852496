#include "bench/infer_bench.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/progress.h"
#include "bench/engine_run.h"
#include "bench/process_stats.h"
#include "infer/engine.h"
#include "nn/profile.h"
#include "ops/attention/attention.h"

namespace fathom {
namespace {

constexpr int kDecodeWarmUp = 16;  // tokens

EngineConfig engine_config(const Decoder& model, int64_t positions) {
  check_bench_positions(model.config(), positions);
  EngineConfig config;
  config.cache_blocks = 2 * bench_blocks(positions);  // a run beside what the one before left behind
  return config;
}

uint64_t submit(Engine& engine, std::vector<int32_t> prompt, int64_t max_tokens, TokenCallback on_token = nullptr) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.max_tokens = max_tokens;
  return engine.submit(std::move(request), std::move(on_token));
}
void finish(Engine& engine, uint64_t id) {
  while (!engine.finished(id)) engine.step();
  engine.take(id);
}

// Seconds of each of `runs` runs of fn(run); run -1 comes first and is not counted, nor is it in the profile.
void measure(int runs, InferBenchRow& row, const std::function<double(int)>& run) {
  run(-1);
  profile_reset();
  const OthersLoad others;
  std::vector<double> rates;
  for (int i = 0; i < runs; ++i) rates.push_back(static_cast<double>(row.tokens) / run(i));
  row.others = others.share();
  std::sort(rates.begin(), rates.end());
  row.runs = runs;
  row.tokens_per_s = rates[rates.size() / 2];
  row.spread = (rates.back() - rates.front()) / row.tokens_per_s;
}

}  // namespace

InferBenchRow bench_prefill(Decoder& model, int64_t tokens, int64_t depth, int runs) {
  InferBenchRow row;
  depth = depth / kKeyBlock * kKeyBlock;
  row.tokens = tokens, row.depth = depth;
  Engine engine(model, engine_config(model, depth + tokens));
  const std::vector<int32_t> prefix = random_ids(model, depth, 0);
  if (depth > 0) finish(engine, submit(engine, prefix, 1));
  measure(runs, row, [&](int run) {
    std::vector<int32_t> prompt = prefix;
    const std::vector<int32_t> fresh = random_ids(model, tokens, static_cast<uint64_t>(2 + run));
    prompt.insert(prompt.end(), fresh.begin(), fresh.end());
    const int64_t computed = engine.stats().prefill_rows;
    const double begin = now_seconds();
    finish(engine, submit(engine, std::move(prompt), 1));
    const double seconds = now_seconds() - begin;
    CHECK_EQ(engine.stats().prefill_rows - computed, tokens);  // the prefix was found, nothing else
    return seconds;
  });
  const ModelConfig& c = model.config();
  const double context = static_cast<double>(depth) + static_cast<double>(tokens + 1) / 2,
               head = 2 * static_cast<double>(c.vocab_size) * static_cast<double>(c.hidden_size);
  const double flops = model.forward_flops_per_token(context) - head + head / static_cast<double>(tokens);
  row.tera_flops = flops * row.tokens_per_s / 1e12;
  row.peak_share = row.tera_flops / linear_peak(model);
  return row;
}

InferBenchRow bench_decode(Decoder& model, int64_t tokens, int64_t depth, int runs) {
  InferBenchRow row;
  row.decode = true;
  row.tokens = tokens, row.depth = depth;
  const int64_t behind = std::max<int64_t>(depth, 1);
  Engine engine(model, engine_config(model, behind + tokens));
  const std::vector<int32_t> prompt = random_ids(model, behind, 0);
  measure(runs, row, [&](int run) {
    const int64_t count = run < 0 ? std::min<int64_t>(kDecodeWarmUp, tokens) : tokens;
    double first = 0;  // when the prompt's own token was there
    finish(engine, submit(engine, prompt, count + 1, [&first](int32_t, float) {
             if (first == 0) first = now_seconds();
           }));
    return now_seconds() - first;
  });
  const double positions = static_cast<double>(behind) + static_cast<double>(tokens + 1) / 2;
  row.cache_bytes_per_token = cache_bytes(model, positions);
  row.bytes_per_token = static_cast<double>(model.weight_bytes_per_token()) + row.cache_bytes_per_token;
  row.gb_per_s = row.bytes_per_token * row.tokens_per_s / 1e9;
  row.bandwidth_share = row.gb_per_s * 1e9 / memory_bandwidth();
  row.tera_flops = model.forward_flops_per_token(positions) * row.tokens_per_s / 1e12;
  row.peak_share = row.tera_flops / linear_peak(model);
  return row;
}

}  // namespace fathom
