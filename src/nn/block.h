// One decoder block: x += Attn(norm(x)); x += FFN(norm(x)) (architecture.md §1.2). The last delta stays pending, so that
// the next norm adds it in its own pass over memory.
#pragma once
#include <memory>
#include <string>

#include "nn/attention_module.h"
#include "nn/mlp.h"
#include "nn/moe.h"
#include "nn/norm.h"

namespace fathom {

// Kept for backward: the residual stream at the first norm, and what the modules save. The stream at the second norm is that
// and o_proj's product, which is computed again: 2 % of a dense layer's work for a sixth of what it keeps.
struct BlockSaved {
  Tensor attention_in, attention_rstd, ffn_rstd;
  AttentionSaved attention;
  Tensor gate_up;
  MoeSaved moe;
};

class Block {
 public:
  // Exactly one of mlp and moe.
  Block(const std::string& prefix, int64_t hidden, double norm_eps, std::unique_ptr<AttentionModule> attention,
        std::unique_ptr<Mlp> mlp, std::unique_ptr<Moe> moe);
  // residual [T, d] F32 and the delta that is still to be added to it (may be empty); returns this block's pending delta. The
  // delta is added in place; with `saved`, whose attention_in that memory then is, residual becomes a new tensor.
  Tensor forward(const ForwardContext& context, int layer, Tensor& residual, const Tensor& delta, BlockSaved* saved);
  // dresidual [T, d] F32: gradient after the block -> gradient before it, in place.
  void backward(const ForwardContext& context, BlockSaved& saved, Tensor& dresidual, WeightGradients& queue);
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;
  int64_t weight_bytes() const { return attention_->weight_bytes() + (moe_ ? moe_->weight_bytes() : mlp_->weight_bytes()); }
  void prepack(const PackOptions& packing);
  void drop_packed();
  void drop_values();
  Moe* moe() { return moe_.get(); }
  const AttentionModule& attention() const { return *attention_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
  RmsNorm input_norm_, post_norm_;
  std::unique_ptr<AttentionModule> attention_;
  std::unique_ptr<Mlp> mlp_;
  std::unique_ptr<Moe> moe_;
};

}  // namespace fathom
