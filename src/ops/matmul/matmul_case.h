// One list of shapes for the tests and the benchmark of the matmul ops.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/op_case.h"
#include "ops/matmul/matmul.h"

namespace fathom {

enum class MatmulRole { kForward, kForwardPacked, kBackwardInput, kBackwardWeight };

struct MatmulCase {
  MatmulRole role;
  int64_t m, n, k;      // rows (of all experts together), outputs, inputs
  int64_t experts = 0;  // 0: not grouped
  Compute compute = Compute::kBF16;
  DType activations = DType::kBF16;
  WeightFormat format = WeightFormat::kPlain;  // of packed weights
  Activations rows = Activations::k16Bit;      // kInt8: forward over rows that were rounded before
};
std::span<const MatmulCase> matmul_test_cases();   // small and odd
std::span<const MatmulCase> matmul_bench_cases();  // shapes of training, prefill and decode
std::vector<OpCase> matmul_cases();                // of the second list

}  // namespace fathom
