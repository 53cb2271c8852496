// Parameter counts, derived figures and the rules that a configuration must keep. Reading and writing: model_config_json.cpp.
#include "model/model_config.h"

#include "base/error.h"
#include "model/weight_groups.h"

namespace fathom {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;        // of one dimension
constexpr int64_t kMaxParameters = int64_t{1} << 50;  // 2^50 values: far above anything published, far below an overflow

struct Rules {
  const std::string& source;
  void require(bool ok, const std::string& field, const std::string& what) const {
    if (!ok) fail_usage("model", source + ": " + field + ": " + what);
  }
  void between(const char* field, int64_t value, int64_t low, int64_t high) const {
    require(low <= value && value <= high, field,
            std::to_string(value) + " is out of range; allowed are " + std::to_string(low) + " to " + std::to_string(high));
  }
};

// Sums of products of dimensions up to 2^24 (three factors at most: 2^72), so 128 bits.
struct Totals {
  __int128 main = 0, active = 0, mtp = 0;
};
Totals totals(const ModelConfig& c) {
  Totals t;
  for (const WeightGroup& g : weight_groups(c)) {
    if (g.kind == WeightKind::kCopy) continue;
    (g.mtp ? t.mtp : t.main) += g.elements();
    t.active += g.elements_read();
  }
  return t;
}

}  // namespace

MoeGateConfig ModelConfig::gate() const {
  MoeGateConfig g;
  g.method = topk_method == "noaux_tc"               ? MoeGateConfig::Method::kNoauxTc
             : topk_method == "group_limited_greedy" ? MoeGateConfig::Method::kGroupLimitedGreedy
                                                     : MoeGateConfig::Method::kGreedy;
  g.scoring = scoring_func == "softmax" ? MoeGateConfig::Scoring::kSoftmax : MoeGateConfig::Scoring::kSigmoid;
  g.num_experts = static_cast<int>(n_routed_experts);
  g.top_k = static_cast<int>(num_experts_per_tok);
  g.n_group = g.method == MoeGateConfig::Method::kGreedy ? 1 : static_cast<int>(n_group);
  g.topk_group = g.method == MoeGateConfig::Method::kGreedy ? 1 : static_cast<int>(topk_group);
  g.norm_topk_prob = norm_topk_prob;
  g.routed_scaling_factor = static_cast<float>(routed_scaling_factor);
  return g;
}

void ModelConfig::validate(const std::string& source) const {
  const Rules r{source};
  const bool deepseek = model_type == "deepseek_v3" || model_type == "deepseek_v2";
  r.require(deepseek || model_type == "qwen2" || model_type == "qwen3" || model_type == "llama", "model_type",
            "\"" + model_type + "\" is not known; known are deepseek_v3, deepseek_v2, qwen2, qwen3, llama");
  r.require(torch_dtype == "bfloat16" || torch_dtype == "float32" || torch_dtype == "float16", "torch_dtype",
            "\"" + torch_dtype + "\" is not known; known are bfloat16, float16, float32");
  r.between("vocab_size", vocab_size, 1, kMaxSize);
  r.between("hidden_size", hidden_size, 1, 1 << 20);
  r.between("intermediate_size", intermediate_size, 1, kMaxSize);
  r.between("num_hidden_layers", num_hidden_layers, 1, 4096);
  r.between("num_attention_heads", num_attention_heads, 1, 1 << 16);
  r.between("max_position_embeddings", max_position_embeddings, 1, (int64_t{1} << 31) - 1);
  r.require(rms_norm_eps >= 0 && rms_norm_eps < 1, "rms_norm_eps", "must be at least 0 and below 1");
  r.require(rope_theta > 1 && rope_theta < 1e30, "rope_theta", "must be above 1");
  r.require(initializer_range > 0 && initializer_range < 100, "initializer_range", "must be above 0 and below 100");
  r.require(!attention_bias, "attention_bias", "true is not supported; biases on q, k and v come with model_type qwen2");
  r.between("num_key_value_heads", num_key_value_heads, 1, num_attention_heads);
  if (deepseek) {
    r.between("kv_lora_rank", kv_lora_rank, 1, 1 << 20);
    r.between("q_lora_rank", q_lora_rank, 0, 1 << 20);
    r.between("qk_nope_head_dim", qk_nope_head_dim, 1, 4096);
    r.between("qk_rope_head_dim", qk_rope_head_dim, 2, 4096);
    r.between("v_head_dim", v_head_dim, 1, 4096);
    r.require(qk_rope_head_dim % 2 == 0, "qk_rope_head_dim",
              std::to_string(qk_rope_head_dim) + " is odd; rotation needs pairs");
    r.require(num_key_value_heads == num_attention_heads, "num_key_value_heads",
              "must equal num_attention_heads with latent attention");
  } else {
    r.require(kv_lora_rank == 0, "kv_lora_rank", "latent attention needs model_type deepseek_v2 or deepseek_v3");
    r.require(n_routed_experts == 0, "n_routed_experts", "experts need model_type deepseek_v2 or deepseek_v3");
    r.between("head_dim", head_dim, 2, 4096);
    r.require(head_dim % 2 == 0, "head_dim", std::to_string(head_dim) + " is odd; rotation needs pairs");
    r.require(
        num_attention_heads % num_key_value_heads == 0, "num_key_value_heads",
        std::to_string(num_key_value_heads) + " does not divide num_attention_heads " + std::to_string(num_attention_heads));
  }
  r.between("num_nextn_predict_layers", num_nextn_predict_layers, 0, 1);
  r.require(num_nextn_predict_layers == 0 || deepseek, "num_nextn_predict_layers",
            "needs model_type deepseek_v3 or deepseek_v2");
  if (n_routed_experts > 0 || deepseek) r.between("n_routed_experts", n_routed_experts, 0, 1 << 16);
  if (n_routed_experts > 0) {
    r.between("moe_intermediate_size", moe_intermediate_size, 1, kMaxSize);
    r.between("num_experts_per_tok", num_experts_per_tok, 1, n_routed_experts);
    r.between("n_shared_experts", n_shared_experts, 0, 1 << 12);
    r.between("first_k_dense_replace", first_k_dense_replace, 0, kMaxSize);
    r.between("moe_layer_freq", moe_layer_freq, 1, kMaxSize);
    r.require(topk_method == "noaux_tc" || topk_method == "greedy" || topk_method == "group_limited_greedy", "topk_method",
              "\"" + topk_method + "\" is not known; known are noaux_tc, greedy, group_limited_greedy");
    r.require(scoring_func == "sigmoid" || scoring_func == "softmax", "scoring_func",
              "\"" + scoring_func + "\" is not known; known are sigmoid, softmax");
    r.require(routed_scaling_factor > 0 && routed_scaling_factor < 1e6, "routed_scaling_factor",
              "must be above 0 and below 1e6");
    r.between("n_group", n_group, 1, n_routed_experts);
    r.require(n_routed_experts % n_group == 0, "n_group",
              std::to_string(n_group) + " does not divide n_routed_experts " + std::to_string(n_routed_experts));
    r.between("topk_group", topk_group, 1, n_group);
    const int64_t group = n_routed_experts / n_group;
    if (topk_method == "noaux_tc" && n_group > 1)
      r.require(group >= 2, "n_group", "groups of one expert have no top-2 score (noaux_tc)");
    if (topk_method != "greedy")
      r.require(num_experts_per_tok <= topk_group * group, "num_experts_per_tok",
                std::to_string(num_experts_per_tok) + " experts a token, but only " + std::to_string(topk_group * group) +
                    " remain in the " + std::to_string(topk_group) + " groups kept of " + std::to_string(n_group));
  }
  const RopeScaling& s = rope_scaling;
  if (s.kind != RopeScaling::Kind::kNone) {
    r.require(s.factor >= 1 && s.factor <= 1e6, "rope_scaling.factor", "must be from 1 to 1e6");
    r.require(s.attn_factor > 0 && s.attn_factor < 1e3, "rope_scaling.attn_factor", "must be above 0 and below 1000");
    if (s.kind != RopeScaling::Kind::kLinear)
      r.require(s.original_max_position_embeddings >= 1 && s.original_max_position_embeddings < 2147483648.0,
                "rope_scaling.original_max_position_embeddings", "must be at least 1");
    if (s.kind == RopeScaling::Kind::kYarn) {
      r.require(s.beta_fast > 0 && s.beta_slow > 0 && s.beta_fast < 1e6 && s.beta_slow < 1e6, "rope_scaling.beta_fast",
                "and beta_slow must be above 0");
      r.require(s.mscale >= 0 && s.mscale < 100 && s.mscale_all_dim >= 0 && s.mscale_all_dim < 100, "rope_scaling.mscale",
                "and mscale_all_dim must be at least 0 and below 100");
    }
    if (s.kind == RopeScaling::Kind::kLlama3)
      r.require(s.low_freq_factor > 0 && s.high_freq_factor > s.low_freq_factor, "rope_scaling.high_freq_factor",
                "must be above low_freq_factor, and both above 0");
  }
  const Totals t = totals(*this);
  r.require(t.main + t.mtp <= kMaxParameters, "hidden_size", "the sizes give more than 2^50 parameters");
}

ModelConfig::Counts ModelConfig::count_parameters() const {
  const Totals t = totals(*this);
  return {static_cast<int64_t>(t.main), static_cast<int64_t>(t.active), vocab_size * hidden_size, static_cast<int64_t>(t.mtp)};
}

int64_t ModelConfig::cache_values_per_token() const {
  return num_hidden_layers * (is_mla() ? kv_lora_rank + qk_rope_head_dim : 2 * num_key_value_heads * head_dim);
}

int64_t ModelConfig::expanded_cache_values_per_token() const {
  if (!is_mla()) return cache_values_per_token();
  return num_hidden_layers * (num_attention_heads * (qk_nope_head_dim + v_head_dim) + qk_rope_head_dim);
}

}  // namespace fathom
