// Tiny models and comparisons for the engine's tests.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/rng.h"
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
  ASSERT_EQ(a.top_logprobs.size(), b.top_logprobs.size());
  for (size_t t = 0; t < a.top_logprobs.size(); ++t)
    EXPECT_TRUE(std::equal(a.top_logprobs[t].begin(), a.top_logprobs[t].end(), b.top_logprobs[t].begin(),
                           b.top_logprobs[t].end(),
                           [](const TokenLogp& x, const TokenLogp& y) {
                             return x.id == y.id && std::bit_cast<uint32_t>(x.logp) == std::bit_cast<uint32_t>(y.logp);
                           }))
        << "the likeliest at token " << t;
}

// Some of everything that a request may ask of the sampler.
inline void random_sampling(Rng& rng, Request& r) {
  SamplingParams& p = r.sampling;
  const float temperatures[] = {0.f, 0.f, 0.4f, 0.7f, 1.f, 1.f, 1.6f};
  p.temperature = temperatures[rng.next_below(7)];
  if (rng.next_below(4) == 0) p.top_k = 1 + static_cast<int32_t>(rng.next_below(20));
  if (rng.next_below(4) == 0) p.top_p = 0.8f;
  if (rng.next_below(4) == 0) p.min_p = 0.05f;
  if (rng.next_below(6) == 0) p.typical_p = 0.7f;
  if (rng.next_below(4) == 0) p.repetition_penalty = rng.next_below(2) == 0 ? 1.3f : 0.8f;
  if (rng.next_below(4) == 0) p.presence_penalty = rng.next_below(2) == 0 ? 1.f : -0.5f;
  if (rng.next_below(4) == 0) p.frequency_penalty = 0.3f;
  if (rng.next_below(4) == 0)
    for (uint64_t n = 1 + rng.next_below(3); n-- > 0;)
      p.logit_bias.push_back({static_cast<int32_t>(rng.next_below(131)), 4 * rng.next_float() - 2});
  if (rng.next_below(4) == 0) r.top_logprobs = 1 + static_cast<int64_t>(rng.next_below(8));
}
// The beginning of a completion, as a request that was cancelled there has it.
inline void cut_off(Completion& completion, size_t tokens) {
  completion.ids.resize(tokens), completion.logps.resize(tokens), completion.sampling_logps.resize(tokens);
  if (!completion.top_logprobs.empty()) completion.top_logprobs.resize(tokens);
  completion.reason = FinishReason::kCancelled;
}

// What a request gives alone, without sharing and speculation.
inline Completion alone(Decoder& model, const Request& request, int64_t blocks = 8) {
  EngineConfig config;
  config.cache_blocks = blocks;
  config.prefix_sharing = false;
  return Engine(model, config).generate({request})[0];
}

}  // namespace fathom
