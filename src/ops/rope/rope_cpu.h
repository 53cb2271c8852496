// The rotation of one batch over raw pointers, compiled once a rung (rope_cpu.cpp).
#pragma once
#include <cstdint>

#include "backend/cpu/isa.h"
#include "tensor/format/bf16.h"

namespace fathom {
struct RopeRows {
  int64_t rows, row_stride;  // of x, in elements
  int64_t num_heads, head_stride, offset;
  int64_t half;            // dim / 2
  const float *cos, *sin;  // [rows, half]
  float sign;              // 1, or -1 to rotate back
  bool interleaved;
};
}  // namespace fathom
FATHOM_DECLARE_RUNGS3(void rope_rows_f32(const RopeRows& r, float* x); void rope_rows_bf16(const RopeRows& r, bf16* x))
