// IEEE binary16, rounding to nearest even.
#pragma once
#include <bit>
#include <cstdint>

namespace fathom {

struct f16 {
  uint16_t bits = 0;
};

inline float to_float(f16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t exponent = (h.bits >> 10) & 31u, mantissa = h.bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

inline f16 to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (a >= 0x47800000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 2^16 and above; 65520 rounds up below
  if (a < 0x38800000u) {                                                 // below 2^-14: subnormal or zero
    const float scaled = std::bit_cast<float>(a) + 0.5f;                 // 0.5 has an ulp of 2^-24: the addition rounds
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - 0x3f000000u))};
  }
  const uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace fathom
