// The router as a layer: logits in f32 from the f32 norm output, experts and weights, and the way back.
#pragma once
#include <string>

#include "nn/forward_context.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "ops/moe_gate/moe_gate.h"

namespace fathom {

// A normed activation: `x` as the GEMMs read it, and what it was computed from, for those that want it in f32.
struct NormedRows {
  const RmsNorm* norm;
  Tensor residual, rstd;  // F32
  Tensor x;               // compute dtype
};

class MoeGate {
 public:
  MoeGate(const std::string& prefix, int64_t hidden, const MoeGateConfig& config);
  struct Choice {
    Tensor logits, ids, weights;  // [T, E] F32, [T, k] I32 ascending, [T, k] F32
  };
  Choice forward(const NormedRows& in) const;
  // Through the weights (dweights [T, k]) and the balance loss. dx [T, d] F32 +=.
  void backward(const ForwardContext& context, const Choice& choice, const NormedRows& in, const Tensor& dweights, Tensor& dx,
                WeightGradients& queue);
  const MoeGateConfig& config() const { return config_; }
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;
  int64_t weight_bytes() const { return weight_.weight_bytes(); }
  void prepack() { weight_.prepack({}); }
  void drop_packed() { weight_.drop_packed(); }
  void drop_values() { weight_.drop_values(); }

  Parameter bias;  // e_score_correction_bias; shape is empty where the method has none
 private:
  MoeGateConfig config_;
  Linear weight_;
};

}  // namespace fathom
