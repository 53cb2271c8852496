#include "checkpoint/gguf_names.h"

#include <map>

#include "base/check.h"

namespace fathom {
namespace {

struct Pair {
  const char *published, *gguf;
};
// Inside a layer; the end ".weight" or ".bias" is the same on both sides but for the router's bias.
constexpr Pair kLayer[] = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"enorm", "nextn.enorm"},
    {"hnorm", "nextn.hnorm"},
    {"eh_proj", "nextn.eh_proj"},
    {"embed_tokens", "nextn.embed_tokens"},
    {"shared_head.norm", "nextn.shared_head_norm"},
    {"shared_head.head", "nextn.shared_head_head"},
};
const std::map<std::string, std::string>& layer_names() {
  static const std::map<std::string, std::string> names = [] {
    std::map<std::string, std::string> all;
    for (const Pair& p : kLayer) all[p.published] = p.gguf;
    return all;
  }();
  return names;
}

}  // namespace

GgufPlace gguf_place(const ModelConfig& config, const std::string& published) {
  GgufPlace place;
  if (published == "model.embed_tokens.weight") place.tensor = "token_embd.weight";
  if (published == "model.norm.weight") place.tensor = "output_norm.weight";
  if (published == "lm_head.weight") place.tensor = "output.weight";
  if (!place.tensor.empty()) return place;

  const std::string layers = "model.layers.", experts = "mlp.experts.";
  CHECK(published.compare(0, layers.size(), layers) == 0);
  const size_t dot = published.find('.', layers.size()), last = published.rfind('.');
  CHECK(dot != std::string::npos && last > dot);
  const std::string block = "blk." + published.substr(layers.size(), dot - layers.size()) + ".";
  const std::string name = published.substr(dot + 1, last - dot - 1), end = published.substr(last);
  if (end == ".e_score_correction_bias") {
    place.tensor = block + "exp_probs_b.bias";
    return place;
  }
  if (name.compare(0, experts.size(), experts) == 0) {
    const size_t after = name.find('.', experts.size());
    CHECK(after != std::string::npos);
    place.expert = std::stoll(name.substr(experts.size(), after - experts.size()));
    place.tensor = block + layer_names().at("mlp." + name.substr(after + 1)) + "_exps" + end;
    return place;
  }
  const auto it = layer_names().find(name);
  CHECK(it != layer_names().end());
  place.tensor = block + it->second + end;
  if (name == "self_attn.kv_b_proj") {
    place.key_tensor = block + "attn_k_b" + end;
    place.value_tensor = block + "attn_v_b" + end;
  }
  if (config.model_type == "llama" && name == "self_attn.q_proj") place.permuted_heads = config.num_attention_heads;
  if (config.model_type == "llama" && name == "self_attn.k_proj") place.permuted_heads = config.num_key_value_heads;
  return place;
}

std::vector<GgufTensorPlan> gguf_tensors(const ModelConfig& config) {
  std::vector<GgufTensorPlan> plans;
  std::map<std::string, size_t> experts;  // plans of expert tensors, by name
  for (const PublishedTensor& tensor : published_tensors(config)) {
    const GgufPlace place = gguf_place(config, tensor.name);
    GgufTensorPlan plan;
    plan.published = {tensor.name};
    if (place.is_kv_b()) {
      const int64_t heads = config.num_attention_heads;
      plan.name = place.key_tensor;
      plan.shape = {heads, config.kv_lora_rank, config.qk_nope_head_dim};
      plan.part = GgufTensorPlan::Part::kKeys;
      plans.push_back(plan);
      plan.name = place.value_tensor;
      plan.shape = {heads, config.v_head_dim, config.kv_lora_rank};
      plan.part = GgufTensorPlan::Part::kValues;
      plans.push_back(plan);
      continue;
    }
    plan.name = place.tensor;
    plan.shape = tensor.shape;
    plan.permuted_heads = place.permuted_heads;
    if (place.expert >= 0) {
      const auto [it, fresh] = experts.emplace(plan.name, plans.size());
      if (!fresh) {
        plans[it->second].published.push_back(tensor.name);
        continue;
      }
      plan.part = GgufTensorPlan::Part::kExperts;
      plan.shape.insert(plan.shape.begin(), config.n_routed_experts);
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace fathom
