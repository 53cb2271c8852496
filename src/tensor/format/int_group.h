// Symmetric integers with one scale for a group of values: rows of int8 (W8A16, inference-serving.md §1.3), and groups of k in
// 4 bits (W4A16).
#pragma once
#include <algorithm>
#include <cstdint>

#include "tensor/format/f16.h"

namespace fathom {

// x / scale, rounded to the nearest integer (ties to even), held in [lowest, highest]; scale 0: 0.
class IntQuantizer {
 public:
  IntQuantizer(f16 scale, int lowest, int highest)
      : scale_(to_float(scale)), lowest_(static_cast<float>(lowest)), highest_(static_cast<float>(highest)) {
    divisor_ = scale_ > 0 ? scale_ : 1, factor_ = scale_ > 0 ? 1.f : 0.f;
  }
  int32_t operator()(float x) const {
    // Below 2^22, adding 1.5 x 2^23 leaves no bits behind the point, so the addition rounds.
    constexpr float kMagic = 12582912;
    return static_cast<int32_t>((std::clamp(x * factor_ / divisor_, lowest_, highest_) + kMagic) - kMagic);
  }
  float scale() const { return scale_; }

 private:
  float scale_, divisor_, factor_, lowest_, highest_;
};
inline constexpr int kInt8Lowest = -127, kInt8Highest = 127, kInt4Lowest = -8, kInt4Highest = 7;

// max |x| of the group / 127, in half precision. Zero where all is zero, or too small for it: then all codes are.
f16 int8_scale(const float* x, int64_t n);
// x / scale, rounded to the nearest integer (ties to even), at most 127 in magnitude.
void quantize_int8(const float* x, int64_t n, f16 scale, int8_t* to);
inline constexpr float kInt8Largest = 65504.f * 127;  // the largest magnitude whose scale is finite

// max |x| of the group / 7.5, half the range of 4 bits, in half precision.
f16 int4_scale(const float* x, int64_t n);
// x / scale as above, from -8 to 7, stored plus 8: two codes a byte, the low one first. n is even.
void quantize_int4(const float* x, int64_t n, f16 scale, uint8_t* to);
inline constexpr float kInt4Largest = 65504.f * 7.5f;

}  // namespace fathom
