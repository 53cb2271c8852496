// Tiny models and batches for the decoder's tests.
#pragma once
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/decoder.h"

namespace fathom {

// Every kind of layer: "v3" (q_lora, groups, bias, shared expert, MTP, YaRN), "v2lite" (no q_lora, softmax, greedy),
// "qwen2" (biases, tied), "qwen3" (norms on q and k), "llama" (no biases, llama3 scaling).
inline ModelConfig tiny_config(const std::string& kind, int64_t positions = 512) {
  ModelConfig c;
  c.vocab_size = 61, c.hidden_size = 32, c.intermediate_size = 40, c.num_hidden_layers = 3;
  c.num_attention_heads = 4, c.num_key_value_heads = 4, c.max_position_embeddings = positions;
  if (kind == "v3" || kind == "v2lite") {
    c.model_type = kind == "v3" ? "deepseek_v3" : "deepseek_v2";
    c.q_lora_rank = kind == "v3" ? 12 : 0;
    c.kv_lora_rank = 20, c.qk_nope_head_dim = 6, c.qk_rope_head_dim = 4, c.v_head_dim = 5;
    c.n_routed_experts = 8, c.n_shared_experts = kind == "v3" ? 1 : 0, c.num_experts_per_tok = 3, c.moe_intermediate_size = 12;
    c.first_k_dense_replace = 1;
    c.topk_method = kind == "v3" ? "noaux_tc" : "greedy";
    c.scoring_func = kind == "v3" ? "sigmoid" : "softmax";
    c.norm_topk_prob = kind == "v3";
    c.routed_scaling_factor = kind == "v3" ? 2.5 : 1;
    if (kind == "v3") c.n_group = 4, c.topk_group = 2, c.num_nextn_predict_layers = 1;
    c.rope_scaling.kind = RopeScaling::Kind::kYarn;
    c.rope_scaling.factor = 4, c.rope_scaling.original_max_position_embeddings = 64;
    c.rope_scaling.has_mscale = true, c.rope_scaling.mscale = c.rope_scaling.mscale_all_dim = 1;
  } else {
    c.model_type = kind;
    c.head_dim = 10, c.num_key_value_heads = 2;
    c.tie_word_embeddings = kind == "qwen2";
    if (kind == "llama") {
      c.rope_scaling.kind = RopeScaling::Kind::kLlama3;
      c.rope_scaling.factor = 8, c.rope_scaling.original_max_position_embeddings = 64;
    }
  }
  return c;
}

// Random weights of every kind, biases and gains too, so that none is invisible.
inline Decoder tiny_model(const std::string& kind, const Numerics& numerics, uint64_t seed = 1) {
  Decoder model(tiny_config(kind), numerics);
  model.init_weights(seed, 0.2);
  for (Parameter* p : model.parameters()) {
    if (p->shape.rank() != 1) continue;
    Rng rng(seed, RngStream::kTest, p->name.size(), p->name.back());
    float* x = p->value.data<float>();
    for (int64_t i = 0; i < p->value.numel(); ++i) x[i] += 0.2f * rng.next_normal();
  }
  return model;
}

inline std::vector<int32_t> tiny_tokens(int64_t n, uint64_t seed, int64_t vocab = 61) {
  std::vector<int32_t> ids(n);
  Rng rng(seed, RngStream::kTest, 77);
  for (auto& id : ids) id = static_cast<int32_t>(rng.next_below(vocab));
  return ids;
}

// targets[t] = the next token of the same segment, -1 in its last row.
inline std::vector<int32_t> next_tokens(const Batch& batch) {
  std::vector<int32_t> targets(batch.ids.size(), -1);
  for (int64_t s = 0; s < batch.num_segments(); ++s)
    for (int64_t t = batch.begins[s]; t + 1 < batch.begins[s + 1]; ++t) targets[t] = batch.ids[t + 1];
  return targets;
}

}  // namespace fathom
