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

}  // namespace fathom
