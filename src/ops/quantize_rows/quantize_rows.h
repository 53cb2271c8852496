// Dynamic symmetric int8 of activations, one scale a row (a token): scale = max |x| / 127, code = x * (127 / max |x|) rounded
// to the nearest even integer. No gradient: training computes on 16-bit activations.
#pragma once
#include "kernels/matmul/int8_rows.h"

namespace fathom {

// x [T, K] F32 or BF16, row-strided allowed; K up to kMaxInt8K. A row whose largest magnitude is below kSmallestInt8Row has
// scale 0 and codes 0; a row with an infinity or a NaN has scale NaN, so that whatever is computed from it is NaN too.
constexpr float kSmallestInt8Row = 0x1p-100f;
Int8Rows quantize_rows(const Tensor& x);

}  // namespace fathom
