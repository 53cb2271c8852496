// Little-endian fields of a block, at any alignment.
#pragma once
#include <cstdint>

#include "tensor/format/f16.h"

namespace fathom {

constexpr float kSmallestNormal = 1.17549435e-38f;  // a scale below it has no inverse, and in f16 it is 0 long before

inline uint16_t load_u16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
inline uint32_t load_u32(const uint8_t* p) {
  return static_cast<uint32_t>(load_u16(p)) | static_cast<uint32_t>(load_u16(p + 2)) << 16;
}
inline float load_f16(const uint8_t* p) { return to_float(f16{load_u16(p)}); }
inline void store_u16(uint8_t* p, uint16_t x) {
  p[0] = static_cast<uint8_t>(x);
  p[1] = static_cast<uint8_t>(x >> 8);
}
// The f16 nearest to x is stored; what it reads back as is returned.
inline float store_f16(uint8_t* p, float x) {
  const f16 h = to_f16(x);
  store_u16(p, h.bits);
  return to_float(h);
}

}  // namespace fathom
