#include "ops/cross_entropy/cross_entropy_case.h"

#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {

std::vector<OpCase> cross_entropy_cases() {
  std::vector<OpCase> cases;
  for (Shape shape : {Shape{256, 4096}, Shape{256, 8192}, Shape{256, 16384}, Shape{16, 129280}, Shape{1, 129280}}) {
    const int64_t rows = shape[0], width = shape[1];
    const double n = static_cast<double>(rows * width);
    const std::vector<int32_t> targets(rows, 5);
    const std::vector<float> coefficients(rows, -1.f / static_cast<float>(rows));
    // An exponential counts as 12 operations.
    cases.push_back({case_shape("log_sum_exp", shape, "f32"), 14 * n, 4 * n, [=] {
                       return [=, logits = case_tensor(shape, DType::kF32),
                               lse = Tensor::empty({rows}, DType::kF32)]() mutable { log_sum_exp(logits, width, lse); };
                     }});
    cases.push_back({case_shape("token_entropy", shape, "f32"), 28 * n, 4 * n, [=] {
                       return [=, logits = case_tensor(shape, DType::kF32), h = Tensor::empty({rows}, DType::kF32)]() mutable {
                         token_entropy(logits, width, h);
                       };
                     }});
    cases.push_back({case_shape("token_kl_divergence", shape, "f32"), 44 * n, 8 * n, [=] {
                       return [=, p = case_tensor(shape, DType::kF32, 1), q = case_tensor(shape, DType::kF32, 2),
                               lse = Tensor::zeros({rows}, DType::kF32), kl = Tensor::empty({rows}, DType::kF32)]() mutable {
                         token_kl_divergence(p, lse, q, lse, width, kl);
                       };
                     }});
    for (DType type : {DType::kF32, DType::kBF16})
      cases.push_back({case_shape("log_prob backward", shape, type == DType::kF32 ? "f32" : "f32 -> bf16"), 28 * n,
                       (4 + static_cast<double>(dtype_bytes(type))) * n, [=] {
                         return [=, logits = case_tensor(shape, DType::kF32), d = Tensor::empty(shape, type),
                                 logp = Tensor::empty({rows}, DType::kF32)]() mutable {
                           log_prob_backward(logits, targets, coefficients, width, d, logp);
                         };
                       }});
  }
  return cases;
}

}  // namespace fathom
