// Plain loops: two products and a sum a value, no fused form, so every rung gives the same bits; the compiler vectorises.
#include "ops/rope/rope_cpu.h"

#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {
namespace {

FATHOM_INLINE float widen_one(float x) { return x; }
FATHOM_INLINE float widen_one(bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
FATHOM_INLINE void narrow_one(float x, float* out) { *out = x; }
FATHOM_INLINE void narrow_one(float x, bf16* out) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, quiet = (u >> 16) | 0x40u;
  out->bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

template <int kStep, class T>  // x and y of pair j stand at x[kStep j] and y[kStep j]
FATHOM_INLINE void rotate(T* __restrict x, T* __restrict y, const float* __restrict cos, const float* __restrict sin,
                          float sign, int64_t half) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = widen_one(x[kStep * j]), b = widen_one(y[kStep * j]), s = sign * sin[j];
    narrow_one(a * cos[j] - b * s, &x[kStep * j]);
    narrow_one(a * s + b * cos[j], &y[kStep * j]);
  }
}

template <class T>
void rotate_rows(const RopeRows& r, T* x) {
  for (int64_t i = 0; i < r.rows; ++i) {
    const float *cos = r.cos + i * r.half, *sin = r.sin + i * r.half;
    for (int64_t h = 0; h < r.num_heads; ++h) {
      T* p = x + i * r.row_stride + h * r.head_stride + r.offset;
      if (r.interleaved)
        rotate<2>(p, p + 1, cos, sin, r.sign, r.half);
      else
        rotate<1>(p, p + r.half, cos, sin, r.sign, r.half);
    }
  }
}

}  // namespace

void rope_rows_f32(const RopeRows& r, float* x) { rotate_rows(r, x); }
void rope_rows_bf16(const RopeRows& r, bf16* x) { rotate_rows(r, x); }

}  // namespace fathom::FATHOM_RUNG
