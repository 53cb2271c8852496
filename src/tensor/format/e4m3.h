// FP8 E4M3 (OCP "fn" form: no infinities, 0x7f and 0xff are NaN; report §3.3.2): 1 sign, 4 exponent (bias 7), 3 mantissa bits.
#pragma once
#include <cstdint>

namespace fathom {

inline bool e4m3_is_nan(uint8_t x) { return (x & 0x7f) == 0x7f; }
inline float e4m3_to_float(uint8_t x) {  // exact
  const int exponent = x >> 3 & 15, mantissa = x & 7;
  float value = 0;
  if (e4m3_is_nan(x)) {
    value = __builtin_nanf("");
  } else if (exponent == 0) {
    value = static_cast<float>(mantissa) * 0x1p-9f;
  } else {
    const uint32_t bits = static_cast<uint32_t>(exponent + 120) << 23 | static_cast<uint32_t>(mantissa) << 20;
    value = __builtin_bit_cast(float, bits);
  }
  return x & 0x80 ? -value : value;
}
// The nearest E4M3 value (ties to even), at most 448 in size; NaN stays NaN.
inline uint8_t e4m3_from_float(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x), magnitude = bits & 0x7fffffffu;
  const uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  if (magnitude > 0x7f800000u) return sign | 0x7f;
  if (magnitude >= 0x43e00000u) return sign | 0x7e;  // 448
  if (magnitude < 0x3c800000u)                       // below 2^-6: multiples of 2^-9, rounded by the addition
    return sign | static_cast<uint8_t>(__builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) * 512 + 0x1p23f));
  return sign | static_cast<uint8_t>(((magnitude + 0x7ffffu + (magnitude >> 20 & 1)) >> 20) - 960);
}

}  // namespace fathom
