// DeepSeekMoE (report §2.1.2): routed experts as fused banks, shared experts as one Mlp, dropless. A token's expert
// outputs are added in the order of its slots, onto the shared experts' output.
#pragma once
#include <memory>
#include <string>

#include "nn/mlp.h"
#include "nn/moe_gate_layer.h"
#include "ops/moe_dispatch/moe_dispatch.h"

namespace fathom {

struct MoeSaved {
  MoeGate::Choice choice;
  Dispatch dispatch;
  Tensor gate_up, shared_gate_up;  // [T*k, 2I], [T, 2 I_shared]
};

class Moe {
 public:
  Moe(const std::string& prefix, int64_t hidden, int64_t intermediate, int64_t shared_experts, const MoeGateConfig& config);
  // Returns the residual's delta [T, d] F32.
  Tensor forward(const ForwardContext& context, const NormedRows& in, MoeSaved* saved);
  // dx [T, d] F32, assigned. Takes the saved tensors apart.
  void backward(const ForwardContext& context, MoeSaved& saved, const NormedRows& in, const Tensor& dout, Tensor& dx,
                WeightGradients& queue);
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;
  int64_t weight_bytes() const;  // read for one token: its experts', the shared ones', the router's
  void prepack(const PackOptions& packing);
  void drop_packed();
  void drop_values();
  const Tensor& load_counts() const { return counts_; }
  Tensor* correction_bias() { return gate_.bias.shape.rank() ? &gate_.bias.value : nullptr; }

 private:
  int64_t experts() const { return gate_up_.shape[0]; }
  int64_t intermediate() const { return down_.shape[2]; }

  std::string prefix_;
  MoeGate gate_;
  Parameter gate_up_, down_;  // [E, 2I, d], [E, d, I]
  std::unique_ptr<Mlp> shared_;
  std::vector<PackedMatrix> packed_gate_up_, packed_down_;
  Tensor counts_;  // [E] I64: tokens routed in training forwards
};

}  // namespace fathom
