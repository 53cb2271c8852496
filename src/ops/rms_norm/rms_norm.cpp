#include "ops/rms_norm/rms_norm.h"

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/rms_norm/rms_norm_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kGrain = 16384;      // elements a piece
constexpr int64_t kGradientRows = 32;  // rows whose gain gradients are summed before the ordered sum over pieces

int64_t grain(int64_t width) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)); }

bool is_bf16(const Tensor& t) {
  CHECK(t.dtype() == DType::kF32 || t.dtype() == DType::kBF16);
  return t.dtype() == DType::kBF16;
}

// The gain as F32: itself, or a widened copy that lives in `copy`.
const float* gain_values(const Tensor& gain, int64_t width, std::vector<float>& copy) {
  CHECK(gain.rank() == 1);
  CHECK_EQ(gain.dim(0), width);
  if (!is_bf16(gain)) return gain.data<float>();
  copy.resize(width);
  for (int64_t i = 0; i < width; ++i) copy[i] = to_float(gain.data<bf16>()[i]);
  return copy.data();
}

void check_rows(const Tensor& x, const Tensor& other) {
  CHECK(x.rank() == 2 && other.rank() == 2);
  CHECK_EQ(other.dim(0), x.dim(0));
  CHECK_EQ(other.dim(1), x.dim(1));
}

RmsNormRows rows_of(const Tensor& x, Tensor& y, const float* gain) {
  check_rows(x, y);
  RmsNormRows a;
  a.width = x.dim(1);
  a.x = x.raw();
  a.x_stride = x.row_stride();
  a.x_bf16 = is_bf16(x);
  a.gain = gain;
  a.y = y.raw();
  a.y_stride = y.row_stride();
  a.y_bf16 = is_bf16(y);
  return a;
}

float* rstd_values(Tensor* rstd, int64_t rows) {
  if (!rstd) return nullptr;
  CHECK_EQ(rstd->numel(), rows);
  CHECK(rstd->contiguous());
  return rstd->data<float>();
}

void run(const RmsNormRows& a, int64_t rows) {
  const auto kernel = FATHOM_PICK3(rms_norm_rows);
  parallel_for(rows, grain(a.width), [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

}  // namespace

void rms_norm_forward(const Tensor& x, const Tensor& gain, float eps, Tensor& y, Tensor* rstd) {
  std::vector<float> copy;
  RmsNormRows a = rows_of(x, y, gain_values(gain, x.dim(1), copy));
  a.eps = eps;
  a.rstd = rstd_values(rstd, x.rows());
  run(a, x.rows());
}

void add_rms_norm_forward(Tensor& residual, const Tensor& delta, const Tensor& gain, float eps, Tensor& y, Tensor* rstd) {
  std::vector<float> copy;
  check_rows(residual, delta);
  RmsNormRows a = rows_of(residual, y, gain_values(gain, residual.dim(1), copy));
  a.residual = residual.data<float>();
  a.delta = delta.raw();
  a.delta_stride = delta.row_stride();
  a.delta_bf16 = is_bf16(delta);
  a.eps = eps;
  a.rstd = rstd_values(rstd, residual.rows());
  run(a, residual.rows());
}

void rms_norm_recompute(const Tensor& x, const Tensor& gain, const Tensor& rstd, Tensor& y) {
  std::vector<float> copy;
  RmsNormRows a = rows_of(x, y, gain_values(gain, x.dim(1), copy));
  CHECK_EQ(rstd.numel(), x.rows());
  a.given_rstd = rstd.data<float>();
  run(a, x.rows());
}

void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gain, const Tensor& rstd, bool accumulate, Tensor& dx,
                       Tensor& dgain) {
  check_rows(x, dy);
  check_rows(x, dx);
  const int64_t rows = x.rows(), width = x.dim(1);
  CHECK_EQ(rstd.numel(), rows);
  CHECK_EQ(dgain.numel(), width);
  std::vector<float> copy;
  RmsNormGradientRows a;
  a.width = width;
  a.dy = dy.raw();
  a.dy_stride = dy.row_stride();
  a.dy_bf16 = is_bf16(dy);
  a.x = x.raw();
  a.x_stride = x.row_stride();
  a.x_bf16 = is_bf16(x);
  a.gain = gain_values(gain, width, copy);
  a.rstd = rstd.data<float>();
  a.accumulate = accumulate;
  a.dx = dx.raw();
  a.dx_stride = dx.row_stride();
  a.dx_bf16 = is_bf16(dx);

  const int64_t pieces = (rows + kGradientRows - 1) / kGradientRows;
  if (pieces == 0) return;
  Tensor parts = Tensor::empty({pieces, width}, DType::kF32);
  float* part = parts.data<float>();
  const auto kernel = FATHOM_PICK3(rms_norm_gradient_rows);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      kernel(a, p * kGradientRows, std::min(rows, (p + 1) * kGradientRows), part + p * width);
  });
  FATHOM_PICK3(add_parts)(part, pieces, width, dgain.data<float>());
}

}  // namespace fathom
