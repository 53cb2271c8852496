// E4M3 bytes to floats, 16 lanes: the value / 256 (kFp8Widened). The byte's bits, moved to their place in a half-precision
// number, are that number: exponent biases differ by 8. VCVTPH2PS takes subnormals whatever MXCSR says. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd.h"
#include "tensor/format/f16.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 1
FATHOM_INLINE __m256i half_bits(const uint8_t* p) {  // s eeee mmm -> s 0 eeee mmm 0000000
  const __m256i words = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_and_si256(_mm256_slli_epi16(words, 7), _mm256_set1_epi16(static_cast<int16_t>(0xbfff)));
}
#endif
#if FATHOM_RUNG_LEVEL >= 2
FATHOM_INLINE F32 widen_e4m3(const uint8_t* p) { return {_mm512_cvtph_ps(half_bits(p))}; }
#elif FATHOM_RUNG_LEVEL == 1
FATHOM_INLINE F32 widen_e4m3(const uint8_t* p) {
  const __m256i half = half_bits(p);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}
#else
// Without a conversion: normal numbers move to a float's place; 0.mmm 2^-6 are mmm / 8 of that, an exact product.
FATHOM_INLINE F32 widen_e4m3(const uint8_t* p) {
  typedef uint8_t V16b __attribute__((vector_size(16)));
  V16b bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  const V16u x = __builtin_convertvector(bytes, V16u);
  const V16u magnitude = x & 0x7fu, sign = (x & 0x80u) << 24;
  const V16u normal = (magnitude << 20) + (112u << 23);
  const V16f small = __builtin_convertvector((V16i)magnitude, V16f) * 0x1p-17f;
  return {(V16f)(((magnitude < 8u) ? (V16u)small : normal) | sign)};
}
#endif

}  // namespace fathom::FATHOM_RUNG
