// A weight's codes into panels that rows of int8 are multiplied with (block_format.h, int8_layout).
#pragma once
#include <cstdint>

#include "kernels/matmul/block_format.h"

namespace fathom {

// Up to 128 k of a panel: `codes` [32 columns][128], in the order of k, zeros where there are none; `header`: the block's
// scales as block_layout() has them. Writes the groups of these k and returns where the next begin, and, of K types, the
// factors of the 256 k that these are among. `k` counts from the block's start.
uint8_t* lay_int8_block(WeightFormat format, const uint8_t* header, const uint8_t (*codes)[kBlockK], int64_t k,
                        uint8_t* factors, uint8_t* out);

}  // namespace fathom
