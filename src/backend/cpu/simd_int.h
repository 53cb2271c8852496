// 16 lanes of whole numbers beside the F32 of simd.h, and comparisons as bits. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 2

struct I32 {
  __m512i v;
};
FATHOM_INLINE I32 set1_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
FATHOM_INLINE I32 load_i32(const void* p) { return {_mm512_loadu_si512(p)}; }
FATHOM_INLINE void store_i32(void* p, I32 a) { _mm512_storeu_si512(p, a.v); }
FATHOM_INLINE I32 load_i8_i32(const void* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))}; }
FATHOM_INLINE I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
FATHOM_INLINE I32 operator*(I32 a, I32 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
FATHOM_INLINE I32 shift_right(I32 a, int n) { return {_mm512_srai_epi32(a.v, static_cast<unsigned>(n))}; }  // keeps the sign
FATHOM_INLINE I32 truncate(F32 a) { return {_mm512_cvttps_epi32(a.v)}; }                                    // |a| < 2^31
FATHOM_INLINE F32 to_f32(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
// sum + (a >= b ? x : 0)
FATHOM_INLINE I32 add_at_least(I32 sum, F32 a, F32 b, I32 x) {
  return {_mm512_mask_add_epi32(sum.v, _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ), sum.v, x.v)};
}
FATHOM_INLINE uint32_t bits_at_least(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }  // bit i: a[i] >= b[i]

#elif FATHOM_RUNG_LEVEL == 1

struct I32 {
  __m256i lo, hi;
};
FATHOM_INLINE I32 set1_i32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
FATHOM_INLINE I32 load_i32(const void* p) {
  const __m256i* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
FATHOM_INLINE void store_i32(void* p, I32 a) {
  __m256i* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, a.lo);
  _mm256_storeu_si256(q + 1, a.hi);
}
FATHOM_INLINE I32 load_i8_i32(const void* p) {
  const __m128i x = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
}
FATHOM_INLINE I32 operator+(I32 a, I32 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
FATHOM_INLINE I32 operator*(I32 a, I32 b) { return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)}; }
FATHOM_INLINE I32 shift_right(I32 a, int n) { return {_mm256_srai_epi32(a.lo, n), _mm256_srai_epi32(a.hi, n)}; }
FATHOM_INLINE I32 truncate(F32 a) { return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)}; }
FATHOM_INLINE F32 to_f32(I32 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
FATHOM_INLINE I32 add_at_least(I32 sum, F32 a, F32 b, I32 x) {
  const __m256i lo = _mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ));
  const __m256i hi = _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ));
  return {_mm256_add_epi32(sum.lo, _mm256_and_si256(lo, x.lo)), _mm256_add_epi32(sum.hi, _mm256_and_si256(hi, x.hi))};
}
FATHOM_INLINE uint32_t bits_at_least(F32 a, F32 b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ))) << 8;
}

#else

struct I32 {
  V16i v;
};
FATHOM_INLINE I32 set1_i32(int32_t x) { return {V16i{} + x}; }
FATHOM_INLINE I32 load_i32(const void* p) {
  I32 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
FATHOM_INLINE void store_i32(void* p, I32 a) { std::memcpy(p, &a, sizeof a); }
FATHOM_INLINE I32 load_i8_i32(const void* p) {
  int8_t bytes[16];
  std::memcpy(bytes, p, sizeof bytes);
  I32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = bytes[i];
  return r;
}
FATHOM_INLINE I32 operator+(I32 a, I32 b) { return {a.v + b.v}; }
FATHOM_INLINE I32 operator*(I32 a, I32 b) { return {a.v * b.v}; }
FATHOM_INLINE I32 shift_right(I32 a, int n) { return {a.v >> n}; }
FATHOM_INLINE I32 truncate(F32 a) { return {__builtin_convertvector(a.v, V16i)}; }
FATHOM_INLINE F32 to_f32(I32 a) { return {__builtin_convertvector(a.v, V16f)}; }
FATHOM_INLINE I32 add_at_least(I32 sum, F32 a, F32 b, I32 x) { return {sum.v + ((a.v >= b.v) & x.v)}; }
FATHOM_INLINE uint32_t bits_at_least(F32 a, F32 b) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= static_cast<uint32_t>(a.v[i] >= b.v[i]) << i;
  return bits;
}

#endif

// The sum of the 16 lanes, which may be more than a lane holds.
FATHOM_INLINE int64_t wide_sum(I32 a) {
#if FATHOM_RUNG_LEVEL >= 2
  return _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(a.v)),
                                                  _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a.v, 1))));
#else
  int32_t t[16];
  store_i32(t, a);
  int64_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += t[i];
  return sum;
#endif
}

}  // namespace fathom::FATHOM_RUNG
