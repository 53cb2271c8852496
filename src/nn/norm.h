// RmsNorm: a gain, and the norm joined with the residual stream.
#pragma once
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "nn/profile.h"
#include "nn/weight_gradients.h"
#include "ops/rms_norm/rms_norm.h"

namespace fathom {

class RmsNorm {
 public:
  RmsNorm(const std::string& name, int64_t width, double eps) : eps_(static_cast<float>(eps)) {
    gain.name = name + ".weight";
    gain.shape = {width};
    gain.always_f32 = true;
  }
  // rstd [T] F32, assigned.
  void forward(const Tensor& x, Tensor& y, Tensor& rstd) const {
    ProfileScope scope("norm");
    rms_norm_forward(x, gain.value, eps_, y, &rstd);
  }
  // residual += delta (where defined), y = norm(residual). With `keep` the sum goes into a new tensor that `residual` then
  // names: whoever saved the old one still has it.
  void forward_residual(Tensor& residual, const Tensor& delta, bool keep, Tensor& y, Tensor& rstd) const;
  void recompute(const Tensor& x, const Tensor& rstd, Tensor& y) const {
    ProfileScope scope("norm");
    rms_norm_recompute(x, gain.value, rstd, y);
  }
  // dx: assigned, or += where `accumulate`; the gain's gradient is added.
  void backward(const Tensor& dy, const Tensor& x, const Tensor& rstd, bool accumulate, Tensor& dx) {
    ProfileScope scope("backward.norm");
    rms_norm_backward(dy, x, gain.value, rstd, accumulate, dx, gain.grad_to_add());
  }
  void collect(std::vector<Parameter*>& parameters) { parameters.push_back(&gain); }
  void collect_named(std::vector<NamedTensor>& tensors) const { tensors.push_back(named_whole(gain)); }

  Parameter gain;

 private:
  float eps_;
};

// x + delta [T, d] F32 as a new tensor; the arithmetic of add_rms_norm_forward.
Tensor add_residual(const Tensor& x, const Tensor& delta);
void add_residual(const Tensor& x, const Tensor& delta, Tensor& y);  // y F32: any memory, delta's too

}  // namespace fathom
