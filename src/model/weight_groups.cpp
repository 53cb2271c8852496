#include "model/weight_groups.h"

namespace fathom {
namespace {

class Collector {
 public:
  explicit Collector(const ModelConfig& config) : c_(config) {}
  std::vector<WeightGroup> take() { return std::move(out_); }

  // `each` tensors in each of `layers` layers, of which a token reads `each_read`.
  void add(WeightKind kind, int64_t rows, int64_t columns, int64_t layers, int64_t each = 1, int64_t each_read = 1) {
    if (layers * each > 0) out_.push_back({kind, rows, columns, layers * each, mtp_ ? 0 : layers * each_read, mtp_});
  }
  void layers(int64_t dense, int64_t moe) {
    const int64_t d = c_.hidden_size, both = dense + moe;
    add(WeightKind::kNorm, d, 1, both, 2, 2);
    c_.is_mla() ? mla(both) : gqa(both);
    mlp(c_.intermediate_size, dense, 1, 1);
    add(WeightKind::kRouter, c_.n_routed_experts, d, moe);
    // The bias takes part in the choice alone: it is no weight that a token goes through.
    if (c_.topk_method == "noaux_tc") add(WeightKind::kRouterBias, c_.n_routed_experts, 1, moe, 1, 0);
    mlp(c_.moe_intermediate_size, moe, c_.n_routed_experts, c_.num_experts_per_tok);
    if (c_.n_shared_experts > 0) mlp(c_.n_shared_experts * c_.moe_intermediate_size, moe, 1, 1);
  }
  void mtp_modules(int64_t count) {
    const int64_t d = c_.hidden_size;
    mtp_ = true;
    layers(c_.n_routed_experts > 0 ? 0 : count, c_.n_routed_experts > 0 ? count : 0);
    add(WeightKind::kNorm, d, 1, count, 3);
    add(WeightKind::kMtpProjection, d, 2 * d, count);
    add(WeightKind::kCopy, c_.vocab_size, d, count, 2);
  }

 private:
  void mla(int64_t layers) {
    const int64_t d = c_.hidden_size, heads = c_.num_attention_heads, query = heads * c_.query_head_dim();
    if (c_.q_lora_rank > 0) {
      add(WeightKind::kLinear, c_.q_lora_rank, d, layers);
      add(WeightKind::kNorm, c_.q_lora_rank, 1, layers);
    }
    add(WeightKind::kLinear, query, c_.q_lora_rank > 0 ? c_.q_lora_rank : d, layers);
    add(WeightKind::kLinear, c_.kv_lora_rank + c_.qk_rope_head_dim, d, layers);
    add(WeightKind::kNorm, c_.kv_lora_rank, 1, layers);
    add(WeightKind::kLinear, heads * (c_.qk_nope_head_dim + c_.v_head_dim), c_.kv_lora_rank, layers);
    add(WeightKind::kLinear, d, heads * c_.v_head_dim, layers);
  }
  void gqa(int64_t layers) {
    const int64_t d = c_.hidden_size, q = c_.num_attention_heads * c_.head_dim, kv = c_.num_key_value_heads * c_.head_dim;
    add(WeightKind::kLinear, q, d, layers);
    add(WeightKind::kLinear, kv, d, layers, 2, 2);
    add(WeightKind::kLinear, d, q, layers);
    if (c_.qkv_bias()) {
      add(WeightKind::kBias, q, 1, layers);
      add(WeightKind::kBias, kv, 1, layers, 2, 2);
    }
    if (c_.qk_norm()) add(WeightKind::kNorm, c_.head_dim, 1, layers, 2, 2);
  }
  void mlp(int64_t width, int64_t layers, int64_t experts, int64_t experts_read) {
    add(WeightKind::kLinear, width, c_.hidden_size, layers, 2 * experts, 2 * experts_read);
    add(WeightKind::kLinear, c_.hidden_size, width, layers, experts, experts_read);
  }
  const ModelConfig& c_;
  bool mtp_ = false;
  std::vector<WeightGroup> out_;
};

}  // namespace

std::vector<WeightGroup> weight_groups(const ModelConfig& c) {
  Collector out(c);
  out.add(WeightKind::kEmbedding, c.vocab_size, c.hidden_size, 1, 1, c.tie_word_embeddings ? 1 : 0);
  int64_t moe = 0;
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) moe += c.is_moe_layer(l);
  out.layers(c.num_hidden_layers - moe, moe);
  out.add(WeightKind::kNorm, c.hidden_size, 1, 1);
  if (!c.tie_word_embeddings) out.add(WeightKind::kHead, c.vocab_size, c.hidden_size, 1);
  out.mtp_modules(c.num_nextn_predict_layers);
  return out.take();
}

}  // namespace fathom
