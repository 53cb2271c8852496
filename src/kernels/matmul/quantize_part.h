// Rounding plain weights to a format, in memory: what `fathom convert` does to a file, for a load that asks for it.
#pragma once
#include "kernels/matmul/packed.h"

namespace fathom {

// `plain`: F32, BF16 or F16 values. kPlain, and widths that no fallback divides: returned as it is. kInt8Row: round to nearest
// of w / scale, where scale = max |w| of the row / 127, kept in f16 (inference-serving.md §1.3). kInt4Group32 and
// 128: likewise, max |w| of the group / 7.5. GGUF types: quantize_row().
// kFp8Block is not made here: Error. Multi-threaded.
WeightPart quantize_part(const WeightPart& plain, WeightFormat format);

}  // namespace fathom
