#include "nn/norm.h"

#include "base/thread_pool.h"
#include "nn/profile.h"

namespace fathom {

Tensor add_residual(const Tensor& x, const Tensor& delta) {
  Tensor y = Tensor::empty(x.shape(), DType::kF32);
  add_residual(x, delta, y);
  return y;
}
void add_residual(const Tensor& x, const Tensor& delta, Tensor& y) {
  CHECK(x.shape() == delta.shape() && x.shape() == y.shape() && x.dtype() == DType::kF32 && y.dtype() == DType::kF32);
  const int64_t width = x.row_size();
  parallel_for(x.rows(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* a = x.row<float>(t);
      float* out = y.row<float>(t);
      if (delta.dtype() == DType::kF32) {
        const float* b = delta.row<float>(t);
        for (int64_t i = 0; i < width; ++i) out[i] = a[i] + b[i];
      } else {
        const bf16* b = delta.row<bf16>(t);
        for (int64_t i = 0; i < width; ++i) out[i] = a[i] + to_float(b[i]);
      }
    }
  });
}

void RmsNorm::forward_residual(Tensor& residual, const Tensor& delta, bool keep, Tensor& y, Tensor& rstd) const {
  ProfileScope scope("norm.residual");
  if (delta.defined() && !keep) return add_rms_norm_forward(residual, delta, gain.value, eps_, y, &rstd);
  if (delta.defined()) residual = add_residual(residual, delta);
  forward(residual, y, rstd);
}

}  // namespace fathom
