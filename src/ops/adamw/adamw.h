// AdamW with decoupled decay (Loshchilov & Hutter 2019), as torch.optim.AdamW: p -= lr*wd*p, then
// p -= lr * m_hat / (sqrt(v_hat) + eps), both moments bias-corrected.
#pragma once
#include "tensor/tensor.h"

namespace fathom {

struct AdamWStep {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1;  // double, as torch: 1 - beta^t is exact enough
  int64_t step = 1;                                                             // 1 for the first update
  float grad_scale = 1.f;  // multiplies the gradient: clipping, and 1/(accumulated weight)
};
// value, grad F32; m, v F32 or BF16; all of one shape, contiguous. value, m, v are updated in place; grad is read.
void adamw_update(const AdamWStep& step, const Tensor& grad, Tensor& value, Tensor& m, Tensor& v);
// Sum of squares in f64 over fixed pieces, in order: the same bits for any thread count.
double sum_of_squares(const Tensor& x);
bool all_finite(const Tensor& x);

}  // namespace fathom
