// What the two kinds of attention (Mla, Gqa) have in common for a block: forward, backward, weights.
#pragma once
#include <vector>

#include "nn/forward_context.h"
#include "nn/parameter.h"
#include "nn/weight_gradients.h"

namespace fathom {

// Saved for backward; norm outputs and MLA's up-projections are recomputed (report §3.2.3).
struct AttentionSaved {
  Tensor latents, q_rstd, kv_rstd;  // MLA: [q_a | c_kv | k_pe rotated] F32
  Tensor q;                         // MLA without q_lora: rotated queries
  Tensor qkv, qk_rstd;              // GQA: rotated (or, with q/k norms, the projections), and rstd [H + KV, T]
  Tensor out, lse;                  // the attention's output and log-sum-exp
};

class AttentionModule {
 public:
  virtual ~AttentionModule() = default;
  // x [T, d] normed, in the compute dtype. Returns the residual's delta [T, d] F32.
  virtual Tensor forward(const ForwardContext& context, int layer, const Tensor& x, AttentionSaved* saved) = 0;
  // The last step of forward by itself: AttentionSaved::out -> the delta.
  virtual Tensor output(const ForwardContext& context, const Tensor& out) const = 0;
  // dout [T, d] F32 -> dx [T, d] F32, assigned. Takes the saved tensors apart.
  virtual void backward(const ForwardContext& context, AttentionSaved& saved, const Tensor& x, const Tensor& dout, Tensor& dx,
                        WeightGradients& queue) = 0;
  virtual int64_t weight_bytes() const = 0;                                         // read for one token
  virtual AttentionLayout cache_layout(MlaFormula formula, KvType type) const = 0;  // what a row of the cache is
  virtual void collect(std::vector<Parameter*>& parameters) = 0;
  virtual void collect_named(std::vector<NamedTensor>& tensors) const = 0;
  virtual void prepack(const PackOptions& packing) = 0;
  virtual void drop_packed() = 0;
  virtual void drop_values() = 0;
};

}  // namespace fathom
