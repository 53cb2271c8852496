#include "ops/adamw/adamw_case.h"

#include "ops/adamw/adamw.h"

namespace fathom {

std::vector<OpCase> adamw_cases() {
  std::vector<OpCase> cases;
  const int64_t n = 32 << 20;  // elements: far beyond every cache
  const Shape shape = {n};
  const double count = static_cast<double>(n);
  for (DType type : {DType::kF32, DType::kBF16}) {
    const double moments = 4 * static_cast<double>(dtype_bytes(type));
    cases.push_back({case_shape("adamw", shape, type == DType::kF32 ? "f32 moments" : "bf16 moments"), 14 * count,
                     (12 + moments) * count, [=] {
                       AdamWStep step;
                       step.lr = 1e-8;
                       return [=, grad = case_tensor(shape, DType::kF32), value = case_tensor(shape, DType::kF32, 2),
                               m = Tensor::zeros(shape, type),
                               v = Tensor::zeros(shape, type)]() mutable { adamw_update(step, grad, value, m, v); };
                     }});
  }
  cases.push_back({case_shape("sum_of_squares", shape, "f32"), 2 * count, 4 * count,
                   [=] { return [x = case_tensor(shape, DType::kF32)] { sum_of_squares(x); }; }});
  cases.push_back({case_shape("all_finite", shape, "f32"), 2 * count, 4 * count,
                   [=] { return [x = case_tensor(shape, DType::kF32)] { all_finite(x); }; }});
  return cases;
}

}  // namespace fathom
