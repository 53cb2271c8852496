// Symmetric integers with one scale for a group of values: rows of int8 (W8A16, inference-serving.md §1.3).
#pragma once
#include <cstdint>

#include "tensor/format/f16.h"

namespace fathom {

// max |x| of the group / 127, in half precision. Zero where all is zero, or too small for it: then all codes are.
f16 int8_scale(const float* x, int64_t n);
// x / scale, rounded to the nearest integer (ties to even), at most 127 in magnitude.
void quantize_int8(const float* x, int64_t n, f16 scale, int8_t* to);
inline constexpr float kInt8Largest = 65504.f * 127;  // the largest magnitude whose scale is finite

}  // namespace fathom
