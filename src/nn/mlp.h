// Dense feed-forward: down(silu(gate x) * up x), gate and up as one GEMM (architecture.md §1.2).
#pragma once
#include <string>

#include "nn/forward_context.h"
#include "nn/linear.h"

namespace fathom {

class Mlp {
 public:
  Mlp(const std::string& prefix, int64_t hidden, int64_t intermediate);
  // out [T, d] F32 or BF16, assigned. gate_up [T, 2I]: saved for backward where not null.
  void forward(const ForwardContext& context, const LinearInput& x, Tensor* gate_up, Tensor& out) const;
  // gate_up is overwritten with its gradient. dx [T, d] F32, assigned.
  void backward(const ForwardContext& context, Tensor& gate_up, const Tensor& x, const Tensor& dout, Tensor& dx,
                WeightGradients& queue);
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;
  int64_t weight_bytes() const { return gate_up_.weight_bytes() + down_.weight_bytes(); }
  void prepack(const PackOptions& packing);
  void drop_packed();
  void drop_values();

 private:
  Linear gate_up_, down_;
};

}  // namespace fathom
