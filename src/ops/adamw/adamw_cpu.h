#pragma once
#include "backend/cpu/isa.h"
#include "tensor/format/bf16.h"

namespace fathom {
struct AdamWPiece {
  const float* grad = nullptr;
  float* value = nullptr;
  void *m = nullptr, *v = nullptr;
  bool m_bf16 = false, v_bf16 = false;
  float grad_scale = 1, keep = 1;  // keep = 1 - lr wd
  float one_minus_beta1 = 0, beta2 = 0, one_minus_beta2 = 0;
  float step_size = 0;  // lr / (1 - beta1^t)
  float v_scale = 0;    // 1 / sqrt(1 - beta2^t)
  float eps = 0;
};
}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void adamw_piece(const AdamWPiece& a, int64_t begin, int64_t end))
FATHOM_DECLARE_RUNGS3(double sum_of_squares_piece(const float* x, int64_t n))
FATHOM_DECLARE_RUNGS3(double sum_of_squares_piece_bf16(const bf16* x, int64_t n))
FATHOM_DECLARE_RUNGS3(bool all_finite_piece(const float* x, int64_t n))
FATHOM_DECLARE_RUNGS3(bool all_finite_piece_bf16(const bf16* x, int64_t n))
