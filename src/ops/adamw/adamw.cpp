#include "ops/adamw/adamw.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/adamw/adamw_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kPiece = 32768;  // elements; a multiple of 16

// base^n by squaring: libm's pow is not the same everywhere.
double power(double base, int64_t n) {
  double result = 1;
  for (; n > 0; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

void check_like(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape());
  CHECK(a.contiguous() && b.contiguous());
}

}  // namespace

void adamw_update(const AdamWStep& step, const Tensor& grad, Tensor& value, Tensor& m, Tensor& v) {
  check_like(grad, value);
  check_like(m, value);
  check_like(v, value);
  CHECK(step.step >= 1);
  CHECK(m.dtype() == DType::kF32 || m.dtype() == DType::kBF16);
  CHECK(v.dtype() == DType::kF32 || v.dtype() == DType::kBF16);
  AdamWPiece a;
  a.grad = grad.data<float>();
  a.value = value.data<float>();
  a.m = m.raw();
  a.v = v.raw();
  a.m_bf16 = m.dtype() == DType::kBF16;
  a.v_bf16 = v.dtype() == DType::kBF16;
  a.grad_scale = step.grad_scale;
  a.keep = static_cast<float>(1 - step.lr * step.weight_decay);
  a.one_minus_beta1 = static_cast<float>(1 - step.beta1);
  a.beta2 = static_cast<float>(step.beta2);
  a.one_minus_beta2 = static_cast<float>(1 - step.beta2);
  a.step_size = static_cast<float>(step.lr / (1 - power(step.beta1, step.step)));
  a.v_scale = static_cast<float>(1 / std::sqrt(1 - power(step.beta2, step.step)));
  a.eps = static_cast<float>(step.eps);
  const auto kernel = FATHOM_PICK3(adamw_piece);
  parallel_for(value.numel(), kPiece, [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

double sum_of_squares(const Tensor& x) {
  CHECK(x.contiguous());
  const int64_t n = x.numel(), pieces = (n + kPiece - 1) / kPiece;
  const bool f32 = x.dtype() == DType::kF32;
  CHECK(f32 || x.dtype() == DType::kBF16);
  const auto kernel = FATHOM_PICK3(sum_of_squares_piece);
  const auto kernel_bf16 = FATHOM_PICK3(sum_of_squares_piece_bf16);
  std::vector<double> sums(pieces);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPiece, size = std::min(kPiece, n - first);
      sums[p] = f32 ? kernel(x.data<float>() + first, size) : kernel_bf16(x.data<bf16>() + first, size);
    }
  });
  double total = 0;
  for (double s : sums) total += s;
  return total;
}

bool all_finite(const Tensor& x) {
  CHECK(x.contiguous());
  const bool f32 = x.dtype() == DType::kF32;
  CHECK(f32 || x.dtype() == DType::kBF16);
  const auto kernel = FATHOM_PICK3(all_finite_piece);
  const auto kernel_bf16 = FATHOM_PICK3(all_finite_piece_bf16);
  std::atomic<bool> finite{true};
  parallel_for(x.numel(), kPiece, [&](int64_t begin, int64_t end) {
    if (!finite.load(std::memory_order_relaxed)) return;
    if (!(f32 ? kernel(x.data<float>() + begin, end - begin) : kernel_bf16(x.data<bf16>() + begin, end - begin)))
      finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

}  // namespace fathom
