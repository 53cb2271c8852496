// The oracle of gemm(): one element at a time, in the very order of each engine, so that tests compare bits.
#pragma once
#include "kernels/matmul/gemm.h"

namespace fathom {

enum class GemmOrder { kF32, kWiden, kDot, kTiles };
// C of one problem (B as a view, not packed). Slow and obvious.
void gemm_reference(const GemmProblem& problem, const GemmOptions& options, GemmOrder order);
// The same over a weight in blocks, which stands in for problem.b.
void gemm_reference_blocks(const GemmProblem& problem, const WeightPart& weight, const GemmOptions& options, GemmOrder order);
// The same with g.a in int8 (GemmProblem::a_int8): integer sums, in the order of gemm.h.
void gemm_reference_int8(const GemmProblem& problem, const WeightPart& weight, const GemmOptions& options);
// The order that gemm() uses for `compute` on isa().
GemmOrder gemm_order(Compute compute);
// The same element in double, unrounded operands: for tolerances.
double gemm_exact(const GemmProblem& problem, int64_t m, int64_t n);

}  // namespace fathom
