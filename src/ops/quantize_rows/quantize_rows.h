// Dynamic symmetric int8 of activations, one scale for a group of k of a row (a token): scale = max |x| / 127, code =
// x * (127 / max |x|) rounded to the nearest even integer. The report rounds to FP8 alike, by 1 x 128 (§3.3.2).
// No gradient: training computes on 16-bit activations.
#pragma once
#include "kernels/matmul/int8_rows.h"

namespace fathom {

// x [T, K] F32 or BF16, row-strided allowed; group 32 or 64. Result: [T, int8_row_bytes(K)] I8 as int8_rows.h lays it. A group
// whose largest magnitude is below kSmallestInt8Group has scale 0 and codes 0; all groups of a row with an infinity or a NaN
// have scale NaN, so that whatever is computed from it is NaN too.
constexpr float kSmallestInt8Group = 0x1p-100f;
Tensor quantize_rows(const Tensor& x, int64_t group);

}  // namespace fathom
