#include "tensor/format/int_group.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

float largest_magnitude(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

}  // namespace

f16 int8_scale(const float* x, int64_t n) { return to_f16(largest_magnitude(x, n) / 127); }
void quantize_int8(const float* x, int64_t n, f16 scale, int8_t* to) {
  const IntQuantizer code(scale, kInt8Lowest, kInt8Highest);
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<int8_t>(code(x[i]));
}

f16 int4_scale(const float* x, int64_t n) { return to_f16(largest_magnitude(x, n) / 7.5f); }
void quantize_int4(const float* x, int64_t n, f16 scale, uint8_t* to) {
  const IntQuantizer code(scale, kInt4Lowest, kInt4Highest);
  for (int64_t i = 0; i < n / 2; ++i) to[i] = static_cast<uint8_t>((code(x[2 * i]) + 8) | (code(x[2 * i + 1]) + 8) << 4);
}

}  // namespace fathom
