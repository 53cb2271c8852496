// Products of 16-bit integers: 16 lanes of 32-bit sums, each over 2 k (VPMADDWD; with VNNI VPDPWSSD). Exact, so the same on
// every rung. Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd_int.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 2
// Integral floats within int16, 32 in a row: in their order.
FATHOM_INLINE void store_words(void* p, F32 a, F32 b) {
  char* q = static_cast<char*>(p);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a.v)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + 32), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(b.v)));
}
// Floats within int16, rounded to nearest even: those of `even` in the even words, of `odd` in the odd ones.
FATHOM_INLINE Pairs make_words(F32 even, F32 odd) {
  const __m512i low = _mm512_cvtps_epi32(even.v), high = _mm512_slli_epi32(_mm512_cvtps_epi32(odd.v), 16);
  return {_mm512_mask_blend_epi16(0xaaaaaaaau, low, high)};
}
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
#else
FATHOM_INLINE void store_words(void* p, F32 a, F32 b) {
  int16_t words[32];
  for (int i = 0; i < 16; ++i) words[i] = static_cast<int16_t>(a.v[i]), words[16 + i] = static_cast<int16_t>(b.v[i]);
  std::memcpy(p, words, sizeof words);
}
FATHOM_INLINE Pairs make_words(F32 even, F32 odd) {
  const V16i low = __builtin_convertvector(round(even).v, V16i), high = __builtin_convertvector(round(odd).v, V16i);
  return {((V16u)low & 0xffffu) | (V16u)high << 16};
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
