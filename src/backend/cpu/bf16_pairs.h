// bf16 pairs out of rows: rounded, put together, zeros beyond the end. Where the rung has VCVTNEPS2BF16 it rounds; it takes
// denormals for zeros, as the pair products do. Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 2
FATHOM_INLINE __m512i interleave_order() {  // word i: element i, then element 16 + i
  const __m512i i = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_or_si512(i, _mm512_slli_epi32(_mm512_add_epi32(i, _mm512_set1_epi32(16)), 16));
}
FATHOM_INLINE __mmask32 elements_below(int64_t n) {
  return static_cast<__mmask32>(n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (uint32_t{1} << n) - 1u);
}
#endif

// x rounded in the even halves, y in the odd ones.
FATHOM_INLINE Pairs round_pairs(F32 x, F32 y) {
#if FATHOM_RUNG_LEVEL >= 3
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y.v, x.v));
  return {_mm512_permutexvar_epi16(interleave_order(), both)};
#else
  return make_pairs(round_bf16(x), round_bf16(y));
#endif
}

// 16 elements each of two rows, rounded: 8 words a row.
FATHOM_INLINE void round_rows(F32 x, F32 y, uint32_t* to_x, uint32_t* to_y) {
#if FATHOM_RUNG_LEVEL >= 3
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y.v, x.v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_x), _mm512_castsi512_si256(both));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_y), _mm512_extracti64x4_epi64(both, 1));
#else
  store(reinterpret_cast<bf16*>(to_x), x);
  store(reinterpret_cast<bf16*>(to_y), y);
#endif
}

// n of 32 elements in their order, two a word.
FATHOM_INLINE Pairs take_words(const bf16* p, int64_t n) {
#if FATHOM_RUNG_LEVEL >= 2
  return n >= 32 ? load_pairs(p) : Pairs{_mm512_maskz_loadu_epi16(elements_below(n), p)};
#else
  bf16 row[32] = {};
  if (n > 0) std::memcpy(row, p, static_cast<size_t>(n < 32 ? n : 32) * sizeof(bf16));
  return load_pairs(row);
#endif
}
FATHOM_INLINE Pairs take_words(const float* p, int64_t n) {
  const F32 low = n >= 16 ? load(p) : load_n(p, static_cast<int>(n > 0 ? n : 0));
  const F32 high = n >= 32 ? load(p + 16) : n > 16 ? load_n(p + 16, static_cast<int>(n - 16)) : zero();
#if FATHOM_RUNG_LEVEL >= 3
  return {reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v))};
#else
  bf16 row[32];
  store(row, low);
  store(row + 16, high);
  return load_pairs(row);
#endif
}

// n of 16 elements of two rows (the second may be missing: null) as pairs.
FATHOM_INLINE Pairs take_pairs(const bf16* x, const bf16* y, int64_t n) {
  const int count = static_cast<int>(n < 0 ? 0 : n < 16 ? n : 16);
#if FATHOM_RUNG_LEVEL >= 2
  const __mmask16 mask = lanes_below(count);
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x));
  if (!y) return {low};
  return {_mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, y)), 16))};
#else
  return make_pairs(load_n(x, count), y ? load_n(y, count) : zero());
#endif
}
FATHOM_INLINE Pairs take_pairs(const float* x, const float* y, int64_t n) {
  const int count = static_cast<int>(n < 0 ? 0 : n < 16 ? n : 16);
  return round_pairs(load_n(x, count), y ? load_n(y, count) : zero());
}

// The same of 32 elements each, all there: to[0..16) and to[16..32).
FATHOM_INLINE void take_32_pairs(const bf16* x, const bf16* y, uint32_t* to) {
#if FATHOM_RUNG_LEVEL >= 2
  const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(y);
  const __m512i i = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i low = _mm512_or_si512(i, _mm512_slli_epi32(_mm512_add_epi32(i, _mm512_set1_epi32(32)), 16));
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(16 | 16 << 16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
  _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(a, high, b));
#else
  store_pairs(to, make_pairs(load(x), load(y)));
  store_pairs(to + 16, make_pairs(load(x + 16), load(y + 16)));
#endif
}
FATHOM_INLINE void take_32_pairs(const float* x, const float* y, uint32_t* to) {
  store_pairs(to, round_pairs(load(x), load(y)));
  store_pairs(to + 16, round_pairs(load(x + 16), load(y + 16)));
}

}  // namespace fathom::FATHOM_RUNG
