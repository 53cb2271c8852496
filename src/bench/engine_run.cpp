#include "bench/engine_run.h"

#include <algorithm>
#include <bit>
#include <string>

#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/rng.h"
#include "ops/attention/attention.h"

namespace fathom {

void check_bench_positions(const ModelConfig& config, int64_t positions) {
  if (positions > config.max_position_embeddings)
    fail_usage("bench", "depth and tokens are " + std::to_string(positions) + " positions, the model takes " +
                            std::to_string(config.max_position_embeddings) + " (max_position_embeddings); give less");
}

double median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<int32_t> random_ids(const Decoder& model, int64_t n, uint64_t stream) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  Rng rng(1, RngStream::kTest, stream);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(model.config().vocab_size)));
  return ids;
}

int64_t bench_blocks(int64_t positions) { return positions / kKeyBlock + 2; }

double linear_peak(const Decoder& model) {
  const Numerics& n = model.numerics();
  return n.activations == Activations::kInt8 ? int8_peak() : gemm_peak(n.compute == Compute::kBF16);
}

EngineRun run_requests(Decoder& model, Engine& engine, const std::vector<Request>& requests) {
  EngineRun run;
  std::vector<uint64_t> ids;
  size_t started = 0;
  int64_t tokens = 0;
  std::vector<bool> has_token(requests.size());
  for (size_t i = 0; i < requests.size(); ++i)
    ids.push_back(engine.submit(requests[i], [&, i](int32_t, float) {
      started += !has_token[i];
      has_token[i] = true;
      ++tokens;
    }));
  while (started < requests.size() && engine.step()) {
  }
  run.begin = engine.stats();
  const int64_t before = tokens;
  model.set_expert_reads(&run.reads);
  const double begin = now_seconds();
  while (engine.step()) {
  }
  run.seconds = now_seconds() - begin;
  model.set_expert_reads(nullptr);
  run.end = engine.stats();
  run.steps = run.end.steps - run.begin.steps;
  run.tokens = tokens - before;
  for (const uint64_t id : ids) run.completions.push_back(engine.take(id));
  return run;
}

void check_same(const Completion& a, const Completion& b, const char* what) {
  const auto same = [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); };
  if (a.ids != b.ids || !std::equal(a.logps.begin(), a.logps.end(), b.logps.begin(), b.logps.end(), same))
    fail("bench", std::string(what) + " has changed what a request gives; this must not be: please report it with the command");
}

double dense_weight_bytes(const Decoder& model, const ExpertReads& reads) {
  double experts = 0;  // of one token: weight_bytes_per_token() holds them
  for (int64_t l = 0; l < model.config().num_hidden_layers && reads.experts > 0; ++l)
    if (model.config().is_moe_layer(l))
      experts += static_cast<double>(model.config().num_experts_per_tok * reads.bytes) / static_cast<double>(reads.experts);
  return static_cast<double>(model.weight_bytes_per_token()) - experts;
}

double cache_bytes(const Decoder& model, double positions) {
  return positions * static_cast<double>(model.num_cache_layers() * model.cache_row_bytes());
}

}  // namespace fathom
