#include "ops/rms_norm/rms_norm_case.h"

#include "ops/rms_norm/rms_norm.h"

namespace fathom {

std::vector<OpCase> rms_norm_cases() {
  std::vector<OpCase> cases;
  for (int64_t rows : {1, 2048, 8192})
    for (int64_t width : {256, 640, 768}) {
      const Shape shape = {rows, width};
      const double n = static_cast<double>(rows * width);
      cases.push_back({case_shape("rms_norm forward", shape, "f32 -> bf16"), 4 * n, 6 * n, [=] {
                         const Tensor x = case_tensor(shape, DType::kF32), gain = case_tensor({width}, DType::kF32, 2);
                         return
                             [=, y = Tensor::empty(shape, DType::kBF16), rstd = Tensor::empty({rows}, DType::kF32)]() mutable {
                               rms_norm_forward(x, gain, 1e-6f, y, &rstd);
                             };
                       }});
      cases.push_back({case_shape("add_rms_norm forward", shape, "f32 += f32 -> bf16"), 5 * n, 14 * n, [=] {
                         const Tensor delta = case_tensor(shape, DType::kF32, 3, 1e-6f),
                                      gain = case_tensor({width}, DType::kF32, 2);
                         return [=, x = case_tensor(shape, DType::kF32), y = Tensor::empty(shape, DType::kBF16),
                                 rstd = Tensor::empty({rows}, DType::kF32)]() mutable {
                           add_rms_norm_forward(x, delta, gain, 1e-6f, y, &rstd);
                         };
                       }});
      if (rows == 1) continue;
      cases.push_back({case_shape("rms_norm backward", shape, "f32, dx +="), 11 * n, 16 * n, [=] {
                         const Tensor x = case_tensor(shape, DType::kF32), gain = case_tensor({width}, DType::kF32, 2),
                                      dy = case_tensor(shape, DType::kF32, 3, 1e-6f);
                         Tensor rstd = Tensor::empty({rows}, DType::kF32), y = Tensor::empty(shape, DType::kF32);
                         rms_norm_forward(x, gain, 1e-6f, y, &rstd);
                         return [=, dx = Tensor::zeros(shape, DType::kF32),
                                 dgain = Tensor::zeros({width}, DType::kF32)]() mutable {
                           rms_norm_backward(dy, x, gain, rstd, true, dx, dgain);
                         };
                       }});
    }
  return cases;
}

}  // namespace fathom
