// Weights of any format with random codes and scales, for tests and benchmarks: as a file would hold them, no quantising.
#pragma once
#include <cstdint>

#include "kernels/matmul/packed.h"

namespace fathom {

// [rows, k] in `format` (kPlain: bf16). Codes of any bits (E4M3: no NaN), values of variance about `deviation`^2; scales vary
// by a factor of 2^(normal x spread). Multi-threaded; the same for the same seed.
WeightPart random_part(WeightFormat format, int64_t rows, int64_t k, uint64_t seed, float deviation = 0.02f,
                       float spread = 0.3f);

}  // namespace fathom
