// Eight 6-bit scales and eight 6-bit minima in 12 bytes (Q4_K, Q5_K; architecture.md §2.7).
#pragma once
#include <cstdint>

namespace fathom {

struct KScale {
  int scale, min;
};
inline KScale unpack_k_scale(const uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}
// In rising order of j, on zeroed bytes.
inline void pack_k_scale(uint8_t* s, int j, KScale k) {
  if (j < 4) {
    s[j] = static_cast<uint8_t>(k.scale);
    s[j + 4] = static_cast<uint8_t>(k.min);
    return;
  }
  s[j + 4] = static_cast<uint8_t>((k.scale & 15) | (k.min & 15) << 4);
  s[j - 4] = static_cast<uint8_t>(s[j - 4] | (k.scale >> 4) << 6);
  s[j] = static_cast<uint8_t>(s[j] | (k.min >> 4) << 6);
}

}  // namespace fathom
