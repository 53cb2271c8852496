#include "tensor/format/int_group.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

// For |x| < 2^22: adding 1.5 x 2^23 leaves no bits behind the point, so the addition rounds.
float nearest_even(float x) {
  constexpr float kMagic = 12582912;
  return (x + kMagic) - kMagic;
}

float largest_magnitude(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// x / scale, rounded and held in [low, high]; scale 0: 0.
struct Quantizer {
  float divisor, factor, low, high;
  Quantizer(f16 scale, float from, float to) : low(from), high(to) {
    const float s = to_float(scale);
    divisor = s > 0 ? s : 1, factor = s > 0 ? 1.f : 0.f;
  }
  int32_t operator()(float x) const { return static_cast<int32_t>(nearest_even(std::clamp(x * factor / divisor, low, high))); }
};

}  // namespace

f16 int8_scale(const float* x, int64_t n) { return to_f16(largest_magnitude(x, n) / 127); }
void quantize_int8(const float* x, int64_t n, f16 scale, int8_t* to) {
  const Quantizer code(scale, -127, 127);
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<int8_t>(code(x[i]));
}

f16 int4_scale(const float* x, int64_t n) { return to_f16(largest_magnitude(x, n) / 7.5f); }
void quantize_int4(const float* x, int64_t n, f16 scale, uint8_t* to) {
  const Quantizer code(scale, -8, 7);
  for (int64_t i = 0; i < n / 2; ++i) to[i] = static_cast<uint8_t>((code(x[2 * i]) + 8) | (code(x[2 * i + 1]) + 8) << 4);
}

}  // namespace fathom
