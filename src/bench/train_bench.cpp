#include "bench/train_bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/rng.h"
#include "bench/process_stats.h"
#include "model/decoder.h"
#include "nn/profile.h"
#include "ops/adamw/adamw.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

struct Optimizer {
  explicit Optimizer(Decoder& model) {
    for (Parameter* p : model.parameters()) {
      if (!p->trainable) continue;
      parameters.push_back(p);
      m.push_back(Tensor::zeros(p->shape, DType::kF32));
      v.push_back(Tensor::zeros(p->shape, DType::kF32));
    }
  }
  void step() {
    ProfileScope scope("optimizer");
    double square = 0;
    for (Parameter* p : parameters) square += sum_of_squares(p->grad);
    AdamWStep s;
    s.lr = 1e-4;
    s.step = ++steps;
    s.grad_scale = static_cast<float>(std::min(1.0, 1.0 / (std::sqrt(square) + 1e-6)));
    for (size_t i = 0; i < parameters.size(); ++i) {
      s.weight_decay = parameters[i]->decay ? 0.1 : 0;
      adamw_update(s, parameters[i]->grad, parameters[i]->value, m[i], v[i]);
    }
  }
  std::vector<Parameter*> parameters;
  std::vector<Tensor> m, v;
  int64_t steps = 0;
};

double active_matmul_parameters(const ModelConfig& c) {
  const ModelConfig::Counts counts = c.count_parameters();
  // count_parameters().active holds the norms and biases too: take them off, as they are no matmul.
  double vectors = static_cast<double>(c.hidden_size) * (2 * static_cast<double>(c.num_hidden_layers) + 1);
  double layer = 0;
  if (c.is_mla()) {
    layer = static_cast<double>(c.q_lora_rank + c.kv_lora_rank);
  } else {
    if (c.qkv_bias()) layer += static_cast<double>((c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim);
    if (c.qk_norm()) layer += 2 * static_cast<double>(c.head_dim);
  }
  vectors += layer * static_cast<double>(c.num_hidden_layers);
  double active = static_cast<double>(counts.active) - vectors;
  if (c.num_nextn_predict_layers > 0) {  // the MTP layer: eh_proj, one block, the head once more
    const double idle =
        static_cast<double>((c.n_routed_experts - c.num_experts_per_tok) * 3 * c.moe_intermediate_size * c.hidden_size);
    active += static_cast<double>(counts.mtp) - idle - layer - 5 * static_cast<double>(c.hidden_size) -
              static_cast<double>(c.n_routed_experts);
    active += static_cast<double>(c.vocab_size * c.hidden_size);
  }
  return active;
}

}  // namespace

std::vector<std::string> train_bench_models() { return {"small", "medium", "dense50m"}; }

ModelConfig train_bench_config(const std::string& model, bool mtp) {
  ModelConfig c;
  c.max_position_embeddings = 2048;
  if (model == "dense50m") {
    c.model_type = "qwen2";
    c.vocab_size = 16384, c.hidden_size = 640, c.intermediate_size = 1792, c.num_hidden_layers = 9;
    c.num_attention_heads = 10, c.num_key_value_heads = 2, c.head_dim = 64;
    c.tie_word_embeddings = true;
    return c;
  }
  if (model != "small" && model != "medium")
    fail_usage("bench", "there is no model '" + model + "'; there are small, medium, dense50m");
  const bool small = model == "small";
  c.model_type = "deepseek_v3";
  c.vocab_size = small ? 4096 : 16384;
  c.hidden_size = small ? 256 : 768;
  c.intermediate_size = small ? 512 : 2048;
  c.num_hidden_layers = small ? 6 : 8;
  c.num_attention_heads = c.num_key_value_heads = small ? 4 : 12;
  c.q_lora_rank = small ? 96 : 256;
  c.kv_lora_rank = small ? 64 : 128;
  c.qk_nope_head_dim = c.v_head_dim = small ? 32 : 64;
  c.qk_rope_head_dim = small ? 16 : 32;
  c.n_routed_experts = small ? 16 : 32;
  c.moe_intermediate_size = small ? 128 : 384;
  c.n_group = small ? 4 : 8;
  c.topk_group = small ? 2 : 4;
  c.num_experts_per_tok = 4, c.n_shared_experts = 1, c.first_k_dense_replace = 1;
  c.topk_method = "noaux_tc", c.scoring_func = "sigmoid", c.routed_scaling_factor = 2.5;
  c.num_nextn_predict_layers = mtp ? 1 : 0;
  return c;
}

double train_bench_flops(const ModelConfig& c, int64_t sequence, int64_t batch) {
  const double tokens = static_cast<double>(sequence * batch),
               layers = static_cast<double>(c.num_hidden_layers + c.num_nextn_predict_layers);
  const double value_dim = static_cast<double>(c.is_mla() ? c.v_head_dim : c.head_dim);
  const double attention =
      layers * 2 * static_cast<double>(c.num_attention_heads) * (static_cast<double>(c.query_head_dim()) + value_dim);
  return 6 * active_matmul_parameters(c) * tokens + 3 * attention * static_cast<double>(sequence) / 2 * tokens;
}

TrainBenchResult run_train_bench(const TrainBenchOptions& o) {
  const double peak = gemm_peak(!o.f32) * 1e12;
  trim_storage_cache();
  reset_peak_resident();
  const ModelConfig config = train_bench_config(o.model, o.extras);
  Decoder model(config, {o.f32 ? Compute::kF32 : Compute::kBF16, MlaFormula::kExpanded});
  model.init_weights(0, 0.02);
  model.allocate_grads();
  Optimizer optimizer(model);

  Batch batch;
  std::vector<int32_t> targets;
  for (int64_t b = 0; b < o.batch; ++b) {
    std::vector<int32_t> ids(o.sequence);
    Rng rng(1, RngStream::kTest, 0, static_cast<uint64_t>(b));
    for (auto& id : ids) id = static_cast<int32_t>(rng.next_below(config.vocab_size));
    batch.add(ids);
    targets.insert(targets.end(), ids.begin() + 1, ids.end());
    targets.push_back(-1);
  }
  const double count = static_cast<double>((o.sequence - 1) * o.batch);
  const TokenObjective objective = [count](int64_t, std::span<const float>, std::span<float> c) {
    std::fill(c.begin(), c.end(), static_cast<float>(-1 / count));
  };
  BackwardOptions backward;
  if (o.extras && config.num_nextn_predict_layers > 0) {
    backward.mtp_weight = 0.3f;
    backward.main_token_weight = static_cast<float>(1 / count);
    backward.balance_alpha = 1e-4f;
  }
  const auto step = [&] {
    ProfileScope scope("step");
    const BackwardResult r = model.forward_backward(batch, targets, objective, backward);
    optimizer.step();
    if (o.extras) {
      model.update_bias(0.001f);
      model.reset_load();
    }
    double loss = 0;
    for (const float l : r.logp) loss -= l / count;
    return loss;
  };

  TrainBenchResult result;
  result.model = o.model, result.extras = o.extras, result.f32 = o.f32;
  double begin = now_seconds();
  result.first_loss = step();
  result.first_step_s = now_seconds() - begin;
  step();
  profile_reset();
  std::vector<double> times;
  begin = now_seconds();
  while (times.size() < 3 || now_seconds() - begin < o.seconds) {
    const double t = now_seconds();
    result.last_loss = step();
    times.push_back(now_seconds() - t);
  }
  if (profile_enabled()) {
    char tensors[80];
    std::snprintf(tensors, sizeof tensors, "tensors: live %.1f MiB, peak %.1f MiB\n",
                  static_cast<double>(storage_live_bytes()) / 1048576, static_cast<double>(storage_peak_bytes()) / 1048576);
    result.profile = profile_table("step") + tensors;
  }
  std::sort(times.begin(), times.end());
  result.steps = static_cast<int>(times.size());
  result.step_s = times[times.size() / 2];
  const ModelConfig::Counts counts = config.count_parameters();
  result.parameters = counts.total + counts.mtp;
  result.active = static_cast<int64_t>(active_matmul_parameters(config));
  result.tokens_per_s = static_cast<double>(o.sequence * o.batch) / result.step_s;
  result.tera_flops = train_bench_flops(config, o.sequence, o.batch) / result.step_s / 1e12;
  result.peak_share = result.tera_flops * 1e12 / peak;
  result.peak_bytes = peak_resident_bytes();
  return result;
}

}  // namespace fathom
