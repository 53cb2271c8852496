#include "bench/infer_bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/json.h"
#include "bench/random_model.h"
#include "model/decoder_testing.h"
#include "nn/profile.h"

namespace fathom {
namespace {

TEST(InferBench, CountsWhatItSays) {
  for (const char* kind : {"v3", "qwen2"})
    for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
      Decoder model = random_model(tiny_config(kind, 400), {compute, MlaFormula::kAbsorbed});
      for (const int64_t depth : {0, 130}) {
        const InferBenchRow decode = bench_decode(model, 20, depth, 3);
        EXPECT_TRUE(decode.decode);
        EXPECT_EQ(decode.runs, 3);
        EXPECT_GT(decode.tokens_per_s, 0);
        EXPECT_GE(decode.spread, 0);
        const double positions = static_cast<double>(std::max<int64_t>(depth, 1)) + 10.5,
                     row = static_cast<double>(model.num_cache_layers() * model.cache_row_bytes());
        EXPECT_DOUBLE_EQ(decode.cache_bytes_per_token, positions * row);
        EXPECT_DOUBLE_EQ(decode.bytes_per_token,
                         static_cast<double>(model.weight_bytes_per_token()) + decode.cache_bytes_per_token);
        EXPECT_NEAR(decode.gb_per_s, decode.bytes_per_token * decode.tokens_per_s / 1e9, 1e-9 * decode.gb_per_s);
        EXPECT_NEAR(decode.bandwidth_share * memory_bandwidth(), decode.gb_per_s * 1e9, 1e-6 * decode.gb_per_s * 1e9);

        const InferBenchRow prefill = bench_prefill(model, 70, depth, 3);
        EXPECT_EQ(prefill.depth, depth / 64 * 64);
        EXPECT_FALSE(prefill.decode);
        EXPECT_GT(prefill.tera_flops, 0);
        EXPECT_NEAR(prefill.peak_share * gemm_peak(compute == Compute::kBF16), prefill.tera_flops, 1e-9 * prefill.tera_flops);
      }
    }
}

// What a token reads: each matrix once, of the experts the chosen ones; the packed form pads to 32 columns and pairs of k,
// and has a byte for 32 k where bf16 goes by integers.
TEST(InferBench, BytesOfWeightsByHand) {
  ModelConfig c = named_shape("v3mini");
  c.num_hidden_layers = 2;  // one dense, one with experts
  c.vocab_size = 320;
  c.n_routed_experts = 32, c.n_group = 4, c.topk_group = 2, c.num_experts_per_tok = 4;
  const Decoder model = random_model(c, {Compute::kBF16, MlaFormula::kAbsorbed});
  const int64_t attention = 1024 * (512 + 576) + 512 * 8 * 192 + 8 * 512 * 128 + 8 * 128 * 512 + 8 * 128 * 1024;
  const int64_t dense = 3 * 1024 * 2816, experts = (4 + 1) * 3 * 1024 * 512, head = 320 * 1024;
  const int64_t weights = 2 * attention + dense + experts + head;
  const int64_t powers = isa() < Isa::kAvx512Bf16 ? weights / 32 : 0;
  EXPECT_EQ(model.weight_bytes_per_token(), 2 * weights + powers + 4 * 32 * 1024);
  EXPECT_NEAR(static_cast<double>(model.weight_bytes_per_token() - powers),
              2.0 * static_cast<double>(c.count_parameters().active),
              0.01 * static_cast<double>(model.weight_bytes_per_token()));
}

TEST(InferBench, NamedShapesHaveTheirSizes) {
  const auto total = [](const char* name) { return static_cast<double>(named_shape(name).count_parameters().total) / 1e9; };
  EXPECT_NEAR(total("qwen1.5b"), 1.777, 0.001);
  EXPECT_NEAR(total("v2lite"), 15.706, 0.001);
  EXPECT_NEAR(total("v3mini"), 1.6727, 0.0001);
  for (const std::string& name : named_shapes()) EXPECT_NO_THROW(named_shape(name).validate(name));
  EXPECT_THROW(named_shape("v4"), Error);
}

// The random weights make a model that computes: finite logits that differ from token to token.
TEST(InferBench, RandomModelsCompute) {
  for (const char* kind : {"v3", "v2lite", "qwen2", "qwen3", "llama"}) {
    Decoder model = random_model(tiny_config(kind, 400), {Compute::kBF16, MlaFormula::kExpanded});
    Batch batch;
    batch.add(tiny_tokens(9, 3));
    const Tensor logits = model.logits(model.forward(batch, nullptr));
    float least = 1e30f, most = -1e30f;
    for (int64_t i = 0; i < logits.numel(); ++i) {
      ASSERT_TRUE(std::isfinite(logits.data<float>()[i])) << kind;
      least = std::min(least, logits.data<float>()[i]);
      most = std::max(most, logits.data<float>()[i]);
    }
    EXPECT_LT(least, most) << kind;
  }
}

TEST(InferBench, TooLongIsAnError) {
  Decoder model = random_model(tiny_config("v3", 400), {Compute::kF32, MlaFormula::kAbsorbed});
  EXPECT_THROW(bench_decode(model, 200, 300, 1), Error);
  EXPECT_THROW(bench_prefill(model, 401, 0, 1), Error);
}

TEST(InferBench, ProfileAddsUpAndTraces) {
  Decoder model = random_model(tiny_config("v3", 400), {Compute::kBF16, MlaFormula::kAbsorbed});
  profile_enable(true);
  profile_trace(true);
  const InferBenchRow row = bench_decode(model, 12, 0, 2);
  profile_enable(false);
  profile_trace(false);
  double self = 0, step = 0;
  long steps = 0, experts = 0;
  for (const ProfileRow& r : profile_rows()) {
    self += r.self_seconds;
    EXPECT_GE(r.self_seconds, -1e-9) << r.name;
    if (r.name == "step") step = r.seconds, steps = r.calls;
    if (r.name == "experts.gate_up") {
      experts = r.calls;
      EXPECT_GT(r.work.bytes, 0);
      EXPECT_GT(r.work.flops, 0);
    }
  }
  EXPECT_EQ(steps, 2 * (12 + 1));  // the prompt's step, then one a token
  EXPECT_EQ(experts, 2 * steps);   // layers with experts
  EXPECT_NEAR(self, step, 1e-6 * step) << "everything happens inside steps";
  EXPECT_NE(profile_table("step").find("experts.gate_up"), std::string::npos);
  const Json trace = parse_json(profile_trace_json(), "trace");
  long found = 0;
  for (const Json& e : trace.at("traceEvents")) {
    EXPECT_EQ(e.at("ph"), "X");
    EXPECT_GE(e.at("ts").get<double>(), 0);
    found += e.at("name") == "step";
  }
  EXPECT_EQ(found, steps);
  EXPECT_EQ(row.tokens, 12);
}

}  // namespace
}  // namespace fathom
