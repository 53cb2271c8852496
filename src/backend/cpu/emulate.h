// Scalar emulators of the matrix instructions, bit for bit: the oracle of their kernels, and what those kernels run on
// where the instruction is missing. Both instructions treat denormals as zero, flush results, round to nearest even
// and ignore MXCSR.
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/format/bf16.h"

namespace fathom {

__attribute__((always_inline)) inline float flush(float x) {
  return __builtin_fabsf(x) < 1.17549435e-38f ? __builtin_copysignf(0.f, x) : x;
}

// One lane of VDPBF16PS: two fused multiply-adds, the odd element first (Intel SDM; bit-equal on Emerald Rapids by test).
__attribute__((always_inline)) inline float emulate_dot2(float sum, uint32_t a, uint32_t b) {
  const float a0 = flush(to_float(bf16{static_cast<uint16_t>(a)})), a1 = flush(to_float(bf16{static_cast<uint16_t>(a >> 16)}));
  const float b0 = flush(to_float(bf16{static_cast<uint16_t>(b)})), b1 = flush(to_float(bf16{static_cast<uint16_t>(b >> 16)}));
  return flush(__builtin_fmaf(a0, b0, flush(__builtin_fmaf(a1, b1, flush(sum)))));
}

// One element of TDPBF16PS over `pairs` <= 16 pairs of k (Intel SDM): an even and an odd chain of fused multiply-adds
// from zero, their sum, and that added to the accumulator. a: pairs of row m, b: pairs of column n, `b_stride` apart.
__attribute__((always_inline)) inline float emulate_tile_dot(float sum, const uint32_t* a, const uint32_t* b, int64_t b_stride,
                                                             int pairs) {
  float chain[2] = {0.f, 0.f};
  for (int k = 0; k < pairs; ++k)
    for (int half = 0; half < 2; ++half) {
      const float x = to_float(bf16{static_cast<uint16_t>(a[k] >> (16 * half))});
      const float y = to_float(bf16{static_cast<uint16_t>(b[k * b_stride] >> (16 * half))});
      chain[half] = flush(__builtin_fmaf(flush(x), flush(y), chain[half]));
    }
  return flush(flush(sum) + flush(chain[0] + chain[1]));
}

// One element of TDPBSUD over `quads` <= 16 quads of k (Intel SDM): a of signed bytes, b of unsigned ones; the sum wraps.
__attribute__((always_inline)) inline uint32_t emulate_tile_dot_int8(uint32_t sum, const uint32_t* a, const uint32_t* b,
                                                                     int64_t b_stride, int quads) {
  for (int k = 0; k < quads; ++k)
    for (int byte = 0; byte < 32; byte += 8)
      sum += static_cast<uint32_t>(static_cast<int8_t>(a[k] >> byte) * static_cast<int>(b[k * b_stride] >> byte & 255));
  return sum;
}

}  // namespace fathom
