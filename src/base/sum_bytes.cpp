#include "base/sum_bytes.h"

#include <cstdio>
#include <cstring>

namespace fathom {

uint64_t sum_bytes(const std::byte* p, int64_t bytes) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
  uint64_t h[8];
  for (uint64_t i = 0; i < 8; ++i) h[i] = (i + 1) * kOdd;
  int64_t at = 0;
  for (; at + 64 <= bytes; at += 64) {
    uint64_t w[8];
    std::memcpy(w, p + at, sizeof w);
    for (int i = 0; i < 8; ++i) h[i] = (h[i] ^ w[i]) * kOdd;
  }
  uint64_t tail[8] = {};
  if (at < bytes) std::memcpy(tail, p + at, static_cast<size_t>(bytes - at));
  uint64_t sum = static_cast<uint64_t>(bytes);
  for (int i = 0; i < 8; ++i) {
    h[i] = (h[i] ^ tail[i]) * kOdd;
    sum = ((sum ^ h[i]) << 27 | (sum ^ h[i]) >> 37) * kOdd;
  }
  return sum;
}

std::string sum_text(uint64_t sum) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum));
  return text;
}

}  // namespace fathom
