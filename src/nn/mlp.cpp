#include "nn/mlp.h"

#include "nn/profile.h"
#include "ops/swiglu/swiglu.h"

namespace fathom {

Mlp::Mlp(const std::string& prefix, int64_t hidden, int64_t intermediate)
    : gate_up_({{prefix + ".gate_proj", intermediate}, {prefix + ".up_proj", intermediate}}, hidden),
      down_({{prefix + ".down_proj", hidden}}, intermediate) {}

void Mlp::forward(const ForwardContext& context, const LinearInput& x, Tensor* gate_up, Tensor& out) const {
  ProfileScope scope("forward.mlp");
  Tensor projected = Tensor::empty({x.rows(), gate_up_.out()}, context.activation());
  Tensor act = Tensor::empty({x.rows(), down_.in()}, context.activation());
  gate_up_.forward(x, context.compute, projected);
  {
    ProfileScope swiglu("swiglu");
    swiglu_forward(projected, nullptr, act);
  }
  down_.forward(act, context.compute, out);
  if (gate_up) *gate_up = projected;
}

void Mlp::backward(const ForwardContext& context, Tensor& gate_up, const Tensor& x, const Tensor& dout, Tensor& dx,
                   WeightGradients& queue) {
  ProfileScope scope("backward.mlp");
  Tensor dact = Tensor::empty({x.rows(), down_.in()}, context.activation());
  down_.backward_input(dout, context.compute, false, dact);
  {
    ProfileScope swiglu("backward.swiglu");
    swiglu_backward(dact, gate_up, nullptr, gate_up, &dact, nullptr);
  }
  const Tensor act = dact;
  down_.backward_weight(queue.keep(dout), act, context.compute, queue);
  gate_up_.backward_input(gate_up, context.compute, false, dx);
  gate_up_.backward_weight(gate_up, x, context.compute, queue);
}

void Mlp::collect(std::vector<Parameter*>& parameters) {
  gate_up_.collect(parameters);
  down_.collect(parameters);
}
void Mlp::collect_named(std::vector<NamedTensor>& tensors) const {
  gate_up_.collect_named(tensors);
  down_.collect_named(tensors);
}
void Mlp::prepack(const PackOptions& packing) {
  gate_up_.prepack(packing);
  down_.prepack(packing);
}
void Mlp::drop_packed() {
  gate_up_.drop_packed();
  down_.drop_packed();
}
void Mlp::drop_values() {
  gate_up_.drop_values();
  down_.drop_values();
}

}  // namespace fathom
