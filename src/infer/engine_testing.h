// Tiny models and comparisons for the engine's tests.
#pragma once
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "infer/engine.h"

namespace fathom {

inline ModelConfig tiny_deepseek() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.torch_dtype = "float32";
  c.vocab_size = 131;
  c.hidden_size = 48;
  c.intermediate_size = 80;
  c.num_hidden_layers = 3;
  c.num_attention_heads = c.num_key_value_heads = 3;
  c.max_position_embeddings = 1024;
  c.q_lora_rank = 24;
  c.kv_lora_rank = 32;
  c.qk_nope_head_dim = 16;
  c.qk_rope_head_dim = 8;
  c.v_head_dim = 24;
  c.n_routed_experts = 8;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = 32;
  c.first_k_dense_replace = 1;
  c.n_group = 4;
  c.topk_group = 2;
  c.topk_method = "noaux_tc";
  c.scoring_func = "sigmoid";
  c.routed_scaling_factor = 1.5;
  return c;
}

inline ModelConfig tiny_qwen() {
  ModelConfig c;
  c.model_type = "qwen2";
  c.torch_dtype = "float32";
  c.vocab_size = 131;
  c.hidden_size = 48;
  c.intermediate_size = 96;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 12;
  c.max_position_embeddings = 1024;
  c.tie_word_embeddings = true;
  return c;
}

// Ready to infer; weights large enough that the tokens differ.
inline Decoder packed_model(ModelConfig config, const Numerics& numerics, uint64_t seed = 7) {
  config.validate("test");
  Decoder model(config, numerics);
  model.allocate(DType::kF32);
  model.init_weights(seed, 0.15);
  model.prepack();
  return model;
}

inline void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i])) << "token " << i << ": " << a[i] << " and " << b[i];
}
inline void expect_same(const Completion& a, const Completion& b) {
  ASSERT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.reason, b.reason);
  expect_same_bits(a.logps, b.logps);
  expect_same_bits(a.sampling_logps, b.sampling_logps);
}

// What a request gives alone, without sharing and speculation.
inline Completion alone(Decoder& model, const Request& request, int64_t blocks = 8) {
  EngineConfig config;
  config.cache_blocks = blocks;
  config.prefix_sharing = false;
  return Engine(model, config).generate({request})[0];
}

}  // namespace fathom
