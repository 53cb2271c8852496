// Products of 16-bit integers: 16 lanes of 32-bit sums, each over 2 k (VPMADDWD; with VNNI VPDPWSSD). Exact, so the same on
// every rung. Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd_int.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 2
// Floats within int16, rounded to nearest even, 32 in a row: in their order.
FATHOM_INLINE void store_words(void* p, F32 a, F32 b) {
  char* q = static_cast<char*>(p);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a.v)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + 32), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(b.v)));
}
// Likewise: those of `even` in the even words, of `odd` in the odd ones.
FATHOM_INLINE Pairs make_words(F32 even, F32 odd) {
  const __m512i low = _mm512_cvtps_epi32(even.v), high = _mm512_slli_epi32(_mm512_cvtps_epi32(odd.v), 16);
  return {_mm512_mask_blend_epi16(0xaaaaaaaau, low, high)};
}
// Lane by lane the larger magnitude, as bits: an infinity is above all numbers, a NaN above it.
FATHOM_INLINE F32 larger_magnitude(F32 a, F32 b) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff), x = _mm512_castps_si512(a.v), y = _mm512_castps_si512(b.v);
  return {_mm512_castsi512_ps(_mm512_max_epu32(_mm512_and_si512(x, mask), _mm512_and_si512(y, mask)))};
}
FATHOM_INLINE uint32_t largest_bits(F32 magnitudes) { return _mm512_reduce_max_epu32(_mm512_castps_si512(magnitudes.v)); }
#elif FATHOM_RUNG_LEVEL == 1
FATHOM_INLINE void store_words(void* p, F32 a, F32 b) {
  const auto packed = [](F32 x) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)), 0xd8);
  };
  __m256i* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, packed(a));
  _mm256_storeu_si256(q + 1, packed(b));
}
FATHOM_INLINE Pairs make_words(F32 even, F32 odd) {
  const auto both = [](__m256 x, __m256 y) {
    return _mm256_blend_epi16(_mm256_cvtps_epi32(x), _mm256_slli_epi32(_mm256_cvtps_epi32(y), 16), 0xaa);
  };
  return {both(even.lo, odd.lo), both(even.hi, odd.hi)};
}
FATHOM_INLINE F32 larger_magnitude(F32 a, F32 b) {
  const auto larger = [](__m256 x, __m256 y) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    return _mm256_castsi256_ps(
        _mm256_max_epu32(_mm256_and_si256(_mm256_castps_si256(x), mask), _mm256_and_si256(_mm256_castps_si256(y), mask)));
  };
  return {larger(a.lo, b.lo), larger(a.hi, b.hi)};
}
FATHOM_INLINE uint32_t largest_bits(F32 magnitudes) {
  const __m256i r8 = _mm256_max_epu32(_mm256_castps_si256(magnitudes.lo), _mm256_castps_si256(magnitudes.hi));
  const __m128i r4 = _mm_max_epu32(_mm256_castsi256_si128(r8), _mm256_extracti128_si256(r8, 1));
  const __m128i r2 = _mm_max_epu32(r4, _mm_shuffle_epi32(r4, 0x4e));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epu32(r2, _mm_shuffle_epi32(r2, 0xb1))));
}
#else
FATHOM_INLINE void store_words(void* p, F32 a, F32 b) {
  int16_t words[32];
  for (int i = 0; i < 16; ++i)
    words[i] = static_cast<int16_t>(__builtin_rintf(a.v[i])), words[16 + i] = static_cast<int16_t>(__builtin_rintf(b.v[i]));
  std::memcpy(p, words, sizeof words);
}
FATHOM_INLINE Pairs make_words(F32 even, F32 odd) {
  const V16i low = __builtin_convertvector(round(even).v, V16i), high = __builtin_convertvector(round(odd).v, V16i);
  return {((V16u)low & 0xffffu) | (V16u)high << 16};
}
FATHOM_INLINE F32 larger_magnitude(F32 a, F32 b) {
  const V16u x = (V16u)a.v & 0x7fffffffu, y = (V16u)b.v & 0x7fffffffu;
  return {(V16f)(x > y ? x : y)};
}
FATHOM_INLINE uint32_t largest_bits(F32 magnitudes) {
  const V16u x = (V16u)magnitudes.v;
  uint32_t largest = 0;
  for (int i = 0; i < 16; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}
#endif

namespace {  // one rung's file may be compiled with VNNI and without

// sum + a's words times b's; a sum of 32 bits wraps around.
#if FATHOM_RUNG_LEVEL >= 2
#if FATHOM_RUNG_LEVEL >= 3 || defined(FATHOM_VNNI)
FATHOM_INLINE I32 dot_words(I32 sum, Pairs a, Pairs b) { return {_mm512_dpwssd_epi32(sum.v, a.v, b.v)}; }
#else
FATHOM_INLINE I32 dot_words(I32 sum, Pairs a, Pairs b) { return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v))}; }
#endif
#elif FATHOM_RUNG_LEVEL == 1
// By the instruction's name: GCC would add the products of several turns first, in more registers than there are.
FATHOM_INLINE void add_products(__m256i& sum, __m256i x) { __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(x)); }
FATHOM_INLINE I32 dot_words(I32 sum, Pairs a, Pairs b) {
  add_products(sum.lo, _mm256_madd_epi16(a.lo, b.lo));
  add_products(sum.hi, _mm256_madd_epi16(a.hi, b.hi));
  return sum;
}
#else
FATHOM_INLINE I32 dot_words(I32 sum, Pairs a, Pairs b) {
  const V16i even = ((V16i)(a.v << 16) >> 16) * ((V16i)(b.v << 16) >> 16), odd = ((V16i)a.v >> 16) * ((V16i)b.v >> 16);
  return {(V16i)((V16u)sum.v + (V16u)even + (V16u)odd)};
}
#endif

}  // namespace
}  // namespace fathom::FATHOM_RUNG
