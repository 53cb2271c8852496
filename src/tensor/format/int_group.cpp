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

}  // namespace

f16 int8_scale(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return to_f16(largest / 127);
}

void quantize_int8(const float* x, int64_t n, f16 scale, int8_t* to) {
  const float s = to_float(scale), divisor = s > 0 ? s : 1, factor = s > 0 ? 1.f : 0.f;
  for (int64_t i = 0; i < n; ++i)
    to[i] = static_cast<int8_t>(static_cast<int32_t>(nearest_even(std::clamp(x[i] * factor / divisor, -127.f, 127.f))));
}

}  // namespace fathom
