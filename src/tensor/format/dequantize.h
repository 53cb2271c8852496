// From quantised blocks to float32, for every type of GGUF (architecture.md §2.7). A block's values depend on its bytes
// only. Products are taken in the order scale x sub-scale x value, as the reference does.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/format/ggml_type.h"

namespace fathom {

// n values, whole blocks, of a type whose info says `real`. `from` needs no alignment.
void dequantize_row(GgmlType type, const std::byte* from, int64_t n, float* to);

// One block each; the row is cut by dequantize_row().
using DequantizeBlock = void (*)(const uint8_t* block, float* to);
DequantizeBlock dequantize_simple(
    GgmlType type);                            // F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL TQ1_0 TQ2_0 MXFP4 NVFP4, else null
DequantizeBlock dequantize_k(GgmlType type);   // Q2_K … Q6_K, else null
DequantizeBlock dequantize_iq(GgmlType type);  // IQ1 … IQ4_XS, else null

}  // namespace fathom
