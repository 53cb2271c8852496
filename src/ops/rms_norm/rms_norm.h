// RMSNorm (report §4.2 uses it before every block): y = x rsqrt(mean(x^2) + eps) g, computed in f32; and its fused form
// with the residual stream. Rows are independent; one fixed reduction order over the width.
#pragma once
#include "tensor/tensor.h"

namespace fathom {

// x [T,d] F32 or BF16 (row-strided allowed), gain [d] F32 or BF16. y [T,d] F32 or BF16, assigned.
// rstd [T] F32: saved for backward where not null.
void rms_norm_forward(const Tensor& x, const Tensor& gain, float eps, Tensor& y, Tensor* rstd);
// residual [T,d] F32 += delta [T,d] (F32 or BF16), then y = RMSNorm(residual): one pass over memory.
void add_rms_norm_forward(Tensor& residual, const Tensor& delta, const Tensor& gain, float eps, Tensor& y, Tensor* rstd);
// dx [T,d] F32 (or BF16): assigned, or += where `accumulate` (the residual stream's gradient). dgain [d] F32 +=.
void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gain, const Tensor& rstd, bool accumulate, Tensor& dx,
                       Tensor& dgain);
// y recomputed from x, gain and rstd (report §3.2.3: norms are not stored).
void rms_norm_recompute(const Tensor& x, const Tensor& gain, const Tensor& rstd, Tensor& y);

}  // namespace fathom
