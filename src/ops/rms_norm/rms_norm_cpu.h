// Kernels of RMSNorm over a range of rows. Strides in elements; gain always F32.
#pragma once
#include "backend/cpu/isa.h"

namespace fathom {

struct RmsNormRows {
  int64_t width = 0;
  const void* x = nullptr;  // F32 or BF16; the residual itself where `delta` is given
  int64_t x_stride = 0;
  bool x_bf16 = false;
  float* residual = nullptr;  // += delta before the norm
  const void* delta = nullptr;
  int64_t delta_stride = 0;
  bool delta_bf16 = false;
  const float* gain = nullptr;
  float eps = 0;
  void* y = nullptr;
  int64_t y_stride = 0;
  bool y_bf16 = false;
  float* rstd = nullptr;              // written where not null
  const float* given_rstd = nullptr;  // recompute: read instead of computed
};

struct RmsNormGradientRows {
  int64_t width = 0;
  const void *dy = nullptr, *x = nullptr;
  int64_t dy_stride = 0, x_stride = 0;
  bool dy_bf16 = false, x_bf16 = false;
  const float *gain = nullptr, *rstd = nullptr;
  bool accumulate = false;
  void* dx = nullptr;
  int64_t dx_stride = 0;
  bool dx_bf16 = false;
};

}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void rms_norm_rows(const RmsNormRows& a, int64_t begin, int64_t end))
// dgain [width] is assigned: the sum over rows [begin, end) in order.
FATHOM_DECLARE_RUNGS3(void rms_norm_gradient_rows(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain))
// y[i] += sum over c, in order, of parts[c width + i].
FATHOM_DECLARE_RUNGS3(void add_parts(const float* parts, int64_t count, int64_t width, float* y))
