// Multi-head latent attention (report §2.1.1, architecture.md §1.3).
//   c_q = norm(W_DQ x), q = W_UQ c_q per head [nope | rope];  [c_kv | k_pe] = W_DKV x, c_kv normed, k_pe one head for all
//   expanded: [k_nope | v] per head = W_UKV c_kv; store row = heads x [k_nope | v] ++ k_pe
//   absorbed: q' = q_nope W_UK, store row = [c_kv | k_pe], context in latents, o = ctx W_UV^T (V2 report §2.1.2)
#pragma once
#include <memory>
#include <string>

#include "nn/attention_module.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "ops/attention/attention.h"

namespace fathom {

struct MlaShape {
  int64_t hidden = 0, num_heads = 0, q_lora = 0, kv_lora = 0, nope = 0, rope = 0, v = 0;
  float softmax_scale = 1;
};

class Mla : public AttentionModule {
 public:
  Mla(const std::string& prefix, const MlaShape& shape);
  Tensor forward(const ForwardContext& context, int layer, const Tensor& x, AttentionSaved* saved) override;
  Tensor output(const ForwardContext& context, const Tensor& out) const override;
  void backward(const ForwardContext& context, AttentionSaved& saved, const Tensor& x, const Tensor& dout, Tensor& dx,
                WeightGradients& queue) override;
  int64_t weight_bytes() const override;
  AttentionLayout cache_layout(MlaFormula formula, KvType type) const override {
    return formula == MlaFormula::kExpanded ? expanded_layout(type) : absorbed_layout(type);
  }
  void collect(std::vector<Parameter*>& parameters) override;
  void collect_named(std::vector<NamedTensor>& tensors) const override;
  void prepack(const PackOptions& packing) override;
  void drop_packed() override;
  void drop_values() override;

 private:
  struct Queries {
    Tensor c_q, q;  // c_q empty without q_lora
  };
  int64_t kv_begin() const { return s_.q_lora; }  // columns of the latents: [q_a | c_kv | k_pe]
  int64_t pe_begin() const { return s_.q_lora + s_.kv_lora; }
  int64_t kv_width() const { return s_.num_heads * (s_.nope + s_.v); }
  AttentionLayout expanded_layout(KvType type) const;
  AttentionLayout absorbed_layout(KvType type) const;
  Tensor down_project(const ForwardContext& context, const LinearInput& x) const;  // latents, k_pe rotated
  // From the latents; rstd is computed (known = false) or used.
  Queries queries(const ForwardContext& context, const LinearInput& x, const Tensor& latents, Tensor& rstd, bool known) const;
  Tensor expanded_rows(const ForwardContext& context, const Tensor& latents, Tensor& rstd, bool known, Tensor& c_kv) const;
  Tensor attend_expanded(const ForwardContext& context, int layer, const Tensor& q, const Tensor& latents,
                         AttentionSaved* saved) const;
  Tensor attend_absorbed(const ForwardContext& context, int layer, const Tensor& q, const Tensor& latents) const;
  const Tensor& plain_kv_b() const;                          // kv_b_proj, not in blocks: its value, or as stored
  Tensor absorbed_key_weight() const;                        // W_UK per head, transposed: [H, kv_lora, nope]
  Tensor absorbed_value_weight() const;                      // W_UV per head: [H, v, kv_lora]
  void prepack_absorbed_blocks(const PackOptions& packing);  // both, from kv_b_proj in FP8 blocks
  void prepack_head(int64_t head, const WeightPart& uk, const WeightPart& uv, const PackOptions& packing);

  MlaShape s_;
  std::unique_ptr<Linear> down_;              // [q_a; kv_a], or kv_a alone
  std::unique_ptr<Linear> q_up_, kv_up_, o_;  // q_up: q_b, or q_proj from x
  std::unique_ptr<RmsNorm> q_norm_, kv_norm_;
  std::vector<PackedMatrix> packed_uk_, packed_uv_;
};

}  // namespace fathom
