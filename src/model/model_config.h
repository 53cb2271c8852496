// A model as its published config.json describes it: DeepSeek-V2/V3 (MLA, MoE, MTP), Qwen2, Qwen3, Llama.
// Field names are those of config.json. No JSON here: model_config.cpp reads and writes it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/matmul/block_format.h"
#include "ops/moe_gate/moe_gate.h"
#include "ops/rope/rope.h"

namespace fathom {

struct ModelConfig {
  std::string model_type;  // deepseek_v3 deepseek_v2 qwen2 qwen3 llama
  std::string torch_dtype = "bfloat16";
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, rope_theta = 10000, initializer_range = 0.02;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false, attention_bias = false;
  int32_t bos_token_id = -1, pad_token_id = -1;
  std::vector<int32_t> eos_token_ids;

  // MLA (kv_lora_rank > 0)
  int64_t q_lora_rank = 0;  // 0: none (q_proj)
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  // MoE (n_routed_experts > 0)
  int64_t n_routed_experts = 0, n_shared_experts = 0, num_experts_per_tok = 0, moe_intermediate_size = 0;
  int64_t first_k_dense_replace = 0, moe_layer_freq = 1, n_group = 1, topk_group = 1;
  std::string topk_method, scoring_func;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  int64_t num_nextn_predict_layers = 0;  // MTP modules
  // quantization_config: how the files store the weights; no method: plain. Read, not written here: what this program writes is
  // plain, or has its own (model_config_quantization.h).
  struct Quantization {
    std::string quant_method, fmt;
    std::vector<int64_t> weight_block_size;
    // compressed-tensors: how the linear layers that it does not ignore are stored; kPlain where `unsupported` says which field
    // asks for what is not read here.
    WeightFormat weights = WeightFormat::kPlain;
    std::string unsupported;
    bool is_fp8_blocks() const {  // DeepSeek's: E4M3 in blocks of 128 x 128
      return quant_method == "fp8" && (fmt.empty() || fmt == "e4m3") && weight_block_size == std::vector<int64_t>{128, 128};
    }
    bool is_compressed_tensors() const { return quant_method == "compressed-tensors"; }
  } quantization;

  bool is_mla() const { return kv_lora_rank > 0; }
  bool is_moe_layer(int64_t layer) const {  // MTP layers (index >= num_hidden_layers) of an MoE model always are
    return n_routed_experts > 0 &&
           (layer >= num_hidden_layers || (layer >= first_k_dense_replace && layer % moe_layer_freq == 0));
  }
  bool qk_norm() const { return model_type == "qwen3"; }
  bool qkv_bias() const { return model_type == "qwen2" || attention_bias; }
  int64_t query_head_dim() const { return is_mla() ? qk_nope_head_dim + qk_rope_head_dim : head_dim; }
  MoeGateConfig gate() const;

  // Bounded, strict reading: a missing or impossible field is an Error that names file and field.
  static ModelConfig from_json_text(const std::string& text, const std::string& source);
  static ModelConfig from_file(const std::string& path);
  std::string to_json_text() const;  // config.json that transformers reads
  void validate(const std::string& source) const;

  struct Counts {
    int64_t total = 0, active = 0, embedding = 0,
            mtp = 0;  // active: of the main model without the embedding table; total without MTP
  };
  Counts count_parameters() const;
  int64_t cache_values_per_token() const;  // MLA: layers*(kv_lora_rank + rope); else layers*2*kv_heads*head_dim
  // MLA with keys and values cached in place of latents: layers*(heads*(nope + v) + rope); else the same as above.
  int64_t expanded_cache_values_per_token() const;
};

}  // namespace fathom
