// Grouped-query attention of Qwen2, Qwen3 and Llama: one fused [q; k; v] projection (with Qwen2's biases), Qwen3's norms
// on each head of q and k before the rotation, half-split RoPE over the whole head.
#pragma once
#include <memory>
#include <string>

#include "nn/attention_module.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "ops/attention/attention.h"

namespace fathom {

struct GqaShape {
  int64_t hidden = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, qk_norm = false;
  double norm_eps = 1e-6;
  float softmax_scale = 1;
};

class Gqa : public AttentionModule {
 public:
  Gqa(const std::string& prefix, const GqaShape& shape);
  Tensor forward(const ForwardContext& context, int layer, const Tensor& x, AttentionSaved* saved) override;
  Tensor output(const ForwardContext& context, const Tensor& out) const override;
  void backward(const ForwardContext& context, AttentionSaved& saved, const Tensor& x, const Tensor& dout, Tensor& dx,
                WeightGradients& queue) override;
  int64_t weight_bytes() const override { return qkv_.weight_bytes() + o_.weight_bytes(); }
  AttentionLayout cache_layout(MlaFormula, KvType type) const override {
    return layout(2 * s_.num_kv_heads * s_.head_dim, type);
  }
  void collect(std::vector<Parameter*>& parameters) override;
  void collect_named(std::vector<NamedTensor>& tensors) const override;
  void prepack(const PackOptions& packing) override;
  void drop_packed() override;
  void drop_values() override;

 private:
  int64_t q_width() const { return s_.num_heads * s_.head_dim; }
  int64_t width() const { return (s_.num_heads + 2 * s_.num_kv_heads) * s_.head_dim; }
  AttentionLayout layout(int64_t row_width, KvType type) const;
  // Qwen3: q and k heads of the projections normed into a new activation, v copied. rstd [H + KV, T].
  Tensor normed(const Tensor& projections, Tensor& rstd, bool known) const;
  void rotate(const ForwardContext& context, Tensor& qkv, bool inverse) const;

  GqaShape s_;
  Linear qkv_, o_;
  std::unique_ptr<RmsNorm> q_norm_, k_norm_;
};

}  // namespace fathom
