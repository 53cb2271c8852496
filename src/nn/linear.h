// y = x W^T (+ b): one fused weight with the published names of its parts, its packed copy, and the three roles apart.
#pragma once
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "nn/weight_gradients.h"
#include "ops/matmul/matmul.h"

namespace fathom {

class Linear {
 public:
  struct Part {
    std::string name;  // published, without ".weight"
    int64_t rows;      // output features
  };
  Linear(std::vector<Part> parts, int64_t in, bool bias = false);

  // y [T, out] F32 or BF16, assigned.
  void forward(const Tensor& x, Compute compute, Tensor& y) const;
  // dx [T, in]: assigned, or += where `accumulate`.
  void backward_input(const Tensor& dy, Compute compute, bool accumulate, Tensor& dx) const;
  void backward_weight(const Tensor& dy, const Tensor& x, Compute compute, WeightGradients& queue);

  int64_t out() const { return weight.shape[0]; }
  int64_t in() const { return weight.shape[1]; }
  void prepack(Compute compute) { packed_ = PackedMatrix::pack(weight.value, compute); }
  void drop_packed() { packed_ = PackedMatrix(); }
  void drop_values() { weight.value = Tensor(); }
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;

  Parameter weight, bias;  // bias.shape is empty where there is none

 private:
  bool has_bias() const { return bias.shape.rank() == 1; }
  std::vector<Part> parts_;
  PackedMatrix packed_;
};

}  // namespace fathom
