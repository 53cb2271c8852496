// The vocabulary of the CPU kernels: 16 float lanes on every rung (one zmm, two ymm, or an array), so that a kernel
// written once gives the same bits on all of them: same lane assignment, fused multiply-adds, same reduction tree.
// Included only by *_cpu.cpp files, which are compiled once a rung with FATHOM_RUNG and FATHOM_RUNG_LEVEL set;
// everything stands in the rung's own namespace, because the same names have other bodies on another rung.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if FATHOM_RUNG_LEVEL >= 1
#include <immintrin.h>
#endif

#include "tensor/format/bf16.h"

#ifndef FATHOM_RUNG
#error "simd.h is for *_cpu.cpp files: see cmake/fathom.cmake"
#endif
#if FATHOM_RUNG_LEVEL >= 1
#define FATHOM_INLINE inline __attribute__((always_inline))
#else
#define FATHOM_INLINE inline  // forced inlining of 16-lane arrays costs minutes of compiling and gains nothing
#endif

namespace fathom::FATHOM_RUNG {

constexpr int kLanes = 16;

#if FATHOM_RUNG_LEVEL >= 2

struct F32 {
  __m512 v;
};
FATHOM_INLINE F32 set1(float x) { return {_mm512_set1_ps(x)}; }
FATHOM_INLINE F32 zero() { return {_mm512_setzero_ps()}; }
FATHOM_INLINE F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
FATHOM_INLINE void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
FATHOM_INLINE void store8(float* p, F32 a) { _mm256_storeu_ps(p, _mm512_castps512_ps256(a.v)); }  // the first 8 lanes
FATHOM_INLINE __mmask16 lanes_below(int n) { return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u); }
FATHOM_INLINE F32 load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(lanes_below(n), p)}; }  // lanes >= n are 0
FATHOM_INLINE void store_n(float* p, F32 a, int n) { _mm512_mask_storeu_ps(p, lanes_below(n), a.v); }
FATHOM_INLINE F32 widen(__m256i h) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))}; }
FATHOM_INLINE __m256i narrow(F32 a) {  // to bf16, nearest even; NaN stays NaN
  const __m512i u = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, _mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(r);
}
// Rounded to bf16 (nearest even, NaN stays NaN), as a float whose lower half is zero.
FATHOM_INLINE F32 round_bf16(F32 a) {
  const __m512i u = _mm512_castps_si512(a.v), high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
  return {_mm512_castsi512_ps(_mm512_and_si512(r, high))};
}
// 16 lanes of two bf16: the even k in the lower half, the odd k in the upper.
struct Pairs {
  __m512i v;
};
FATHOM_INLINE Pairs load_pairs(const void* p) { return {_mm512_loadu_si512(p)}; }
FATHOM_INLINE void store_pairs(void* p, Pairs a) { _mm512_storeu_si512(p, a.v); }
FATHOM_INLINE Pairs set1_pairs(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
FATHOM_INLINE F32 even(Pairs a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16))}; }
FATHOM_INLINE F32 odd(Pairs a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
FATHOM_INLINE Pairs make_pairs(F32 even, F32 odd) {  // of values that are already rounded (round_bf16)
  return {_mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even.v), 16), _mm512_castps_si512(odd.v))};
}
FATHOM_INLINE F32 load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
FATHOM_INLINE void store(bf16* p, F32 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
FATHOM_INLINE F32 load_n(const bf16* p, int n) { return widen(_mm256_maskz_loadu_epi16(lanes_below(n), p)); }
FATHOM_INLINE void store_n(bf16* p, F32 a, int n) { _mm256_mask_storeu_epi16(p, lanes_below(n), narrow(a)); }
FATHOM_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
FATHOM_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
FATHOM_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
FATHOM_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
FATHOM_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
FATHOM_INLINE F32 fnma(F32 a, F32 b, F32 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
FATHOM_INLINE F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
FATHOM_INLINE F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
FATHOM_INLINE F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
FATHOM_INLINE F32 round(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// x 2^n for integral n in [-126, 127]
FATHOM_INLINE F32 scale_by_power(F32 x, F32 n) {
  return {_mm512_mul_ps(
      x.v, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23)))};
}
FATHOM_INLINE F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
FATHOM_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

#elif FATHOM_RUNG_LEVEL == 1

struct F32 {
  __m256 lo, hi;
};
FATHOM_INLINE F32 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
FATHOM_INLINE F32 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
FATHOM_INLINE F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
FATHOM_INLINE void store(float* p, F32 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
FATHOM_INLINE void store8(float* p, F32 a) { _mm256_storeu_ps(p, a.lo); }
FATHOM_INLINE __m256i lanes_below(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FATHOM_INLINE F32 load_n(const float* p, int n) {
  if (n >= 16) return load(p);
  return {_mm256_maskload_ps(p, lanes_below(n)), _mm256_maskload_ps(p + 8, lanes_below(n - 8))};
}
// Masked stores are microcode on AMD's processors: whole vectors go without.
FATHOM_INLINE void store_n(float* p, F32 a, int n) {
  if (n >= 16) return store(p, a);
  _mm256_maskstore_ps(p, lanes_below(n), a.lo);
  _mm256_maskstore_ps(p + 8, lanes_below(n - 8), a.hi);
}
FATHOM_INLINE __m256 widen(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
FATHOM_INLINE __m256i narrow32(__m256 a) {
  const __m256i u = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
FATHOM_INLINE __m256i narrow(F32 a) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(narrow32(a.lo), narrow32(a.hi)), 0xd8);
}
FATHOM_INLINE __m256 round_bf16(__m256 a) {
  const __m256i u = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i chosen = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
  return _mm256_castsi256_ps(_mm256_and_si256(chosen, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
FATHOM_INLINE F32 round_bf16(F32 a) { return {round_bf16(a.lo), round_bf16(a.hi)}; }
struct Pairs {
  __m256i lo, hi;
};
FATHOM_INLINE Pairs load_pairs(const void* p) {
  const __m256i* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
FATHOM_INLINE void store_pairs(void* p, Pairs a) {
  __m256i* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, a.lo);
  _mm256_storeu_si256(q + 1, a.hi);
}
FATHOM_INLINE Pairs set1_pairs(uint32_t x) {
  return {_mm256_set1_epi32(static_cast<int>(x)), _mm256_set1_epi32(static_cast<int>(x))};
}
FATHOM_INLINE F32 even(Pairs a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a.lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(a.hi, 16))};
}
FATHOM_INLINE F32 odd(Pairs a) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(a.lo, high)), _mm256_castsi256_ps(_mm256_and_si256(a.hi, high))};
}
FATHOM_INLINE Pairs make_pairs(F32 even, F32 odd) {
  return {_mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(even.lo), 16), _mm256_castps_si256(odd.lo)),
          _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(even.hi), 16), _mm256_castps_si256(odd.hi))};
}
FATHOM_INLINE F32 load(const bf16* p) {
  return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
FATHOM_INLINE void store(bf16* p, F32 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
FATHOM_INLINE F32 load_n(const bf16* p, int n) {
  if (n >= 16) return load(p);
  bf16 t[16] = {};
  if (n > 0) std::memcpy(t, p, n * sizeof(bf16));
  return load(t);
}
FATHOM_INLINE void store_n(bf16* p, F32 a, int n) {
  if (n >= 16) return store(p, a);
  bf16 t[16];
  store(t, a);
  if (n > 0) std::memcpy(p, t, n * sizeof(bf16));
}
FATHOM_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
FATHOM_INLINE F32 fnma(F32 a, F32 b, F32 c) { return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)}; }
FATHOM_INLINE F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
FATHOM_INLINE F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
FATHOM_INLINE F32 round(F32 a) {
  return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FATHOM_INLINE __m256 power_of_two(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
FATHOM_INLINE F32 scale_by_power(F32 x, F32 n) {
  return {_mm256_mul_ps(x.lo, power_of_two(n.lo)), _mm256_mul_ps(x.hi, power_of_two(n.hi))};
}
FATHOM_INLINE F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
FATHOM_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

#else

// GCC's generic vectors: they compile fast and to whatever the base architecture has. What they lack (fused
// multiply-add, rounding, square root) stands in functions of its own, out of line, or compile times explode.
typedef float V16f __attribute__((vector_size(64)));
typedef int32_t V16i __attribute__((vector_size(64)));
typedef uint32_t V16u __attribute__((vector_size(64)));
typedef uint16_t V16h __attribute__((vector_size(32)));
struct F32 {
  V16f v;
};
#define FATHOM_EACH(expression)                       \
  F32 r;                                              \
  for (int i = 0; i < 16; ++i) r.v[i] = (expression); \
  return r
FATHOM_INLINE F32 set1(float x) {
  return {V16f{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}};
}  // not 0 + x: it would lose -0
FATHOM_INLINE F32 zero() { return {V16f{}}; }
FATHOM_INLINE F32 load(const float* p) {
  F32 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
FATHOM_INLINE void store(float* p, F32 a) { std::memcpy(p, &a, sizeof a); }
FATHOM_INLINE void store8(float* p, F32 a) { std::memcpy(p, &a, sizeof a / 2); }
FATHOM_INLINE F32 load_n(const float* p, int n) {
  F32 r = zero();
  if (n > 0) std::memcpy(&r, p, (n < 16 ? n : 16) * sizeof(float));
  return r;
}
FATHOM_INLINE void store_n(float* p, F32 a, int n) {
  if (n > 0) std::memcpy(p, &a, (n < 16 ? n : 16) * sizeof(float));
}
FATHOM_INLINE F32 widen(V16h h) { return {(V16f)(__builtin_convertvector(h, V16u) << 16)}; }
FATHOM_INLINE V16h narrow(F32 a) {
  const V16u u = (V16u)a.v;
  const V16u rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return __builtin_convertvector(a.v != a.v ? (u >> 16) | 0x40u : rounded, V16h);
}
FATHOM_INLINE F32 load(const bf16* p) {
  V16h h;
  std::memcpy(&h, p, sizeof h);
  return widen(h);
}
FATHOM_INLINE void store(bf16* p, F32 a) {
  const V16h h = narrow(a);
  std::memcpy(static_cast<void*>(p), &h, sizeof h);
}
FATHOM_INLINE F32 load_n(const bf16* p, int n) {
  V16h h = {};
  if (n > 0) std::memcpy(&h, p, (n < 16 ? n : 16) * sizeof(bf16));
  return widen(h);
}
FATHOM_INLINE void store_n(bf16* p, F32 a, int n) {
  const V16h h = narrow(a);
  if (n > 0) std::memcpy(static_cast<void*>(p), &h, (n < 16 ? n : 16) * sizeof(bf16));
}
FATHOM_INLINE F32 round_bf16(F32 a) { return widen(narrow(a)); }
struct Pairs {
  V16u v;
};
FATHOM_INLINE Pairs load_pairs(const void* p) {
  Pairs r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
FATHOM_INLINE void store_pairs(void* p, Pairs a) { std::memcpy(p, &a, sizeof a); }
FATHOM_INLINE Pairs set1_pairs(uint32_t x) { return {V16u{} + x}; }
FATHOM_INLINE F32 even(Pairs a) { return {(V16f)(a.v << 16)}; }
FATHOM_INLINE F32 odd(Pairs a) { return {(V16f)(a.v & 0xffff0000u)}; }
FATHOM_INLINE Pairs make_pairs(F32 even, F32 odd) { return {((V16u)even.v >> 16) | (V16u)odd.v}; }
FATHOM_INLINE F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
FATHOM_INLINE F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
FATHOM_INLINE F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
FATHOM_INLINE F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
__attribute__((noinline, unused)) static F32 fma(F32 a, F32 b, F32 c) { FATHOM_EACH(__builtin_fmaf(a.v[i], b.v[i], c.v[i])); }
FATHOM_INLINE F32 fnma(F32 a, F32 b, F32 c) { return fma({-a.v}, b, c); }
FATHOM_INLINE F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }  // as MAXPS: b where unordered
FATHOM_INLINE F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
__attribute__((noinline, unused)) static F32 sqrt(F32 a) { FATHOM_EACH(__builtin_sqrtf(a.v[i])); }
__attribute__((noinline, unused)) static F32 round(F32 a) { FATHOM_EACH(__builtin_rintf(a.v[i])); }
FATHOM_INLINE F32 scale_by_power(F32 x, F32 n) { return {x.v * (V16f)((__builtin_convertvector(n.v, V16i) + 127) << 23)}; }
FATHOM_INLINE F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return {a.v < b.v ? yes.v : no.v}; }
FATHOM_INLINE void prefetch(const void*) {}
#undef FATHOM_EACH

#endif

// Sum and maximum of the 16 lanes by one fixed tree: lane i with i+8, then i+4, i+2, i+1.
#if FATHOM_RUNG_LEVEL >= 1
FATHOM_INLINE __m256 low8(F32 a) {
#if FATHOM_RUNG_LEVEL >= 2
  return _mm512_castps512_ps256(a.v);
#else
  return a.lo;
#endif
}
FATHOM_INLINE __m256 high8(F32 a) {
#if FATHOM_RUNG_LEVEL >= 2
  return _mm512_extractf32x8_ps(a.v, 1);
#else
  return a.hi;
#endif
}
FATHOM_INLINE float first_lane(F32 a) { return _mm256_cvtss_f32(low8(a)); }
FATHOM_INLINE float reduce_add(F32 a) {
  const __m256 r8 = _mm256_add_ps(low8(a), high8(a));
  const __m128 r4 = _mm_add_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  const __m128 r2 = _mm_add_ps(r4, _mm_movehl_ps(r4, r4));
  return _mm_cvtss_f32(_mm_add_ss(r2, _mm_movehdup_ps(r2)));
}
FATHOM_INLINE float reduce_max(F32 a) {
  const __m256 r8 = _mm256_max_ps(low8(a), high8(a));
  const __m128 r4 = _mm_max_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  const __m128 r2 = _mm_max_ps(r4, _mm_movehl_ps(r4, r4));
  return _mm_cvtss_f32(_mm_max_ss(r2, _mm_movehdup_ps(r2)));
}
#else
FATHOM_INLINE float reduce_add(F32 a) {
  float t[16];
  store(t, a);
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) t[i] += t[i + width];
  return t[0];
}
FATHOM_INLINE float reduce_max(F32 a) {
  float t[16];
  store(t, a);
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) t[i] = t[i] > t[i + width] ? t[i] : t[i + width];
  return t[0];
}
#endif

}  // namespace fathom::FATHOM_RUNG
