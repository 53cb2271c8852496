// Unsigned bytes times signed bytes, exactly: 16 lanes of 32-bit sums, each over 4 k (VPDPBUSD, which does not saturate). Rungs
// without it widen to 16 bits first (VPMADDWD: the 8-bit VPMADDUBSW saturates over whole bytes, but not over fewer bits). The
// sums are integers: the same on every rung. Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd_int.h"

#if FATHOM_RUNG_LEVEL >= 3 && !defined(FATHOM_VNNI)
#define FATHOM_VNNI 1
#endif

namespace fathom::FATHOM_RUNG {
namespace {  // one rung's file may be compiled with VNNI and without

FATHOM_INLINE int32_t load_word(const void* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

#if FATHOM_RUNG_LEVEL >= 2

// Integral floats within int8.
FATHOM_INLINE void store_i8(int8_t* p, F32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
// 64 bytes: of 16 columns 4 k each.
struct Bytes {
  __m512i v;
};
FATHOM_INLINE Bytes load_bytes(const void* p) { return {_mm512_loadu_si512(p)}; }
FATHOM_INLINE void store_bytes(void* p, Bytes a) { _mm512_storeu_si512(p, a.v); }
FATHOM_INLINE Bytes low_nibbles(Bytes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
FATHOM_INLINE Bytes high_nibbles(Bytes a) { return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(15))}; }
// The bits from `from` on of every byte at 4, those of `mask`, joined to a.
FATHOM_INLINE Bytes join_upper(Bytes a, Bytes upper, int from, uint8_t mask) {
  const __m512i moved = from <= 4 ? _mm512_slli_epi16(upper.v, static_cast<unsigned>(4 - from))
                                  : _mm512_srli_epi16(upper.v, static_cast<unsigned>(from - 4));
  return {_mm512_or_si512(a.v, _mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(mask))))};
}
#ifdef FATHOM_VNNI
struct Columns {  // Bytes in the form that is multiplied
  __m512i v;
};
FATHOM_INLINE Columns columns(Bytes a) { return {a.v}; }
struct Quad {  // 4 k of a row, to all lanes
  __m512i v;
};
FATHOM_INLINE Quad load_quad(const void* p) { return {_mm512_set1_epi32(load_word(p))}; }
FATHOM_INLINE I32 dot4(I32 sum, Columns b, Quad a) { return {_mm512_dpbusd_epi32(sum.v, b.v, a.v)}; }
#else
struct Columns {
  __m512i even, odd;
};
FATHOM_INLINE Columns columns(Bytes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi16(255)), _mm512_srli_epi16(a.v, 8)}; }
struct Quad {
  __m512i even, odd;
};
FATHOM_INLINE Quad load_quad(const void* p) {
  const __m512i x = _mm512_set1_epi32(load_word(p));
  return {_mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), _mm512_srai_epi16(x, 8)};
}
FATHOM_INLINE I32 dot4(I32 sum, Columns b, Quad a) {
  return {_mm512_add_epi32(_mm512_add_epi32(sum.v, _mm512_madd_epi16(b.even, a.even)), _mm512_madd_epi16(b.odd, a.odd))};
}
#endif

#elif FATHOM_RUNG_LEVEL == 1

FATHOM_INLINE void store_i8(int8_t* p, F32 a) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
struct Bytes {
  __m256i lo, hi;
};
FATHOM_INLINE Bytes load_bytes(const void* p) {
  const I32 x = load_i32(p);
  return {x.lo, x.hi};
}
FATHOM_INLINE void store_bytes(void* p, Bytes a) { store_i32(p, {a.lo, a.hi}); }
FATHOM_INLINE Bytes low_nibbles(Bytes a) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)};
}
FATHOM_INLINE Bytes high_nibbles(Bytes a) { return low_nibbles({_mm256_srli_epi16(a.lo, 4), _mm256_srli_epi16(a.hi, 4)}); }
FATHOM_INLINE Bytes join_upper(Bytes a, Bytes upper, int from, uint8_t mask) {
  const __m256i bits = _mm256_set1_epi8(static_cast<char>(mask));
  const auto moved = [&](__m256i x) {
    return _mm256_and_si256(from <= 4 ? _mm256_slli_epi16(x, 4 - from) : _mm256_srli_epi16(x, from - 4), bits);
  };
  return {_mm256_or_si256(a.lo, moved(upper.lo)), _mm256_or_si256(a.hi, moved(upper.hi))};
}
struct Columns {
  __m256i even[2], odd[2];
};
FATHOM_INLINE Columns columns(Bytes a) {
  const __m256i mask = _mm256_set1_epi16(255);
  return {{_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)},
          {_mm256_srli_epi16(a.lo, 8), _mm256_srli_epi16(a.hi, 8)}};
}
struct Quad {
  __m256i even, odd;
};
FATHOM_INLINE Quad load_quad(const void* p) {
  const __m256i x = _mm256_set1_epi32(load_word(p));
  return {_mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8)};
}
FATHOM_INLINE I32 dot4(I32 sum, const Columns& b, Quad a) {
  sum.lo = _mm256_add_epi32(_mm256_add_epi32(sum.lo, _mm256_madd_epi16(b.even[0], a.even)), _mm256_madd_epi16(b.odd[0], a.odd));
  sum.hi = _mm256_add_epi32(_mm256_add_epi32(sum.hi, _mm256_madd_epi16(b.even[1], a.even)), _mm256_madd_epi16(b.odd[1], a.odd));
  return sum;
}
// The same for codes of few bits: in words, two to a lane, as long as they fit; then both, each times a word, into the lane's
// sum.
FATHOM_INLINE I32 dot4_words(I32 words, Bytes b, int32_t a) {
  const __m256i row = _mm256_set1_epi32(a);
  return {_mm256_add_epi16(words.lo, _mm256_maddubs_epi16(b.lo, row)),
          _mm256_add_epi16(words.hi, _mm256_maddubs_epi16(b.hi, row))};
}
FATHOM_INLINE I32 ones_words() { return {_mm256_set1_epi16(1), _mm256_set1_epi16(1)}; }
FATHOM_INLINE I32 sum_words(I32 sum, I32 words, I32 factors = ones_words()) {
  return sum + I32{_mm256_madd_epi16(words.lo, factors.lo), _mm256_madd_epi16(words.hi, factors.hi)};
}

#else

FATHOM_INLINE void store_i8(int8_t* p, F32 a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
}
struct Bytes {
  V16u v;
};
FATHOM_INLINE Bytes load_bytes(const void* p) {
  Bytes r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
FATHOM_INLINE void store_bytes(void* p, Bytes a) { std::memcpy(p, &a, sizeof a); }
FATHOM_INLINE Bytes low_nibbles(Bytes a) { return {a.v & 0x0f0f0f0fu}; }
FATHOM_INLINE Bytes high_nibbles(Bytes a) { return {(a.v >> 4) & 0x0f0f0f0fu}; }
FATHOM_INLINE Bytes join_upper(Bytes a, Bytes upper, int from, uint8_t mask) {
  return {a.v | ((from <= 4 ? upper.v << (4 - from) : upper.v >> (from - 4)) & (mask * 0x01010101u))};
}
using Columns = Bytes;
FATHOM_INLINE Columns columns(Bytes a) { return a; }
struct Quad {
  int32_t v;
};
FATHOM_INLINE Quad load_quad(const void* p) { return {load_word(p)}; }
FATHOM_INLINE I32 dot4(I32 sum, Columns b, Quad a) {
  for (int j = 0; j < 4; ++j)
    sum.v += (V16i)((b.v >> (8 * j)) & 255u) * static_cast<int32_t>(static_cast<int8_t>(a.v >> (8 * j)));
  return sum;
}

#endif

}  // namespace
}  // namespace fathom::FATHOM_RUNG
