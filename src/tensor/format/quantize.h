// From float32 to the blocks that the GGUF writer offers. A block's bytes depend on its values only.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/format/ggml_type.h"

namespace fathom {

// F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q4_K Q6_K.
bool can_quantize(GgmlType type);
// n finite values, whole blocks. Q8_0, Q4_0, Q4_1 and Q5_0 give the reference's bits; Q4_K and Q6_K search scales and minima
// for the least squared error (no importance weights).
void quantize_row(GgmlType type, const float* from, int64_t n, std::byte* to);
// The largest magnitude that the type holds: f16's for every type with an f16 in it, times the largest integer.
float largest_value(GgmlType type);

using QuantizeBlock = void (*)(const float* from, uint8_t* block);
QuantizeBlock quantize_k(GgmlType type);  // Q4_K Q6_K, else null

}  // namespace fathom
