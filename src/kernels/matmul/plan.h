// Cuts a list of products into passes (bounded scratch for packed B) of equal blocks. Sizes and orders here change
// speed only, never a bit.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/matmul/gemm.h"

namespace fathom {

// A block of C; b_offset: where panel 0 of its problem would stand in the shared scratch.
struct PlanBlock {
  int64_t problem, m0, rows, panel0, panels, super_k, b_offset;
};
// Panels of B for the shared scratch: k in [k0, k0 + kc) of panels [panel, panel_end), the first at `offset`.
struct PlanPack {
  int64_t problem, panel, panel_end, k0, kc, offset, panel_bytes;
};
struct GemmPlan {
  std::vector<PlanBlock> blocks;
  std::vector<PlanPack> packs;
  bool share_b = false;  // B is packed by all threads first; otherwise packed before, or by the only block that needs it
  int64_t shared_bytes = 0;
};

class GemmPlanner {
 public:
  GemmPlanner(std::span<const GemmProblem> problems, const GemmKernels& kernels, int threads);
  bool next(GemmPlan& plan);  // false: all is done

 private:
  struct Grid {
    int64_t row_blocks, column_blocks;
  };
  Grid split(const GemmProblem& g, int64_t panels, int64_t wanted_blocks, bool alone) const;

  std::span<const GemmProblem> problems_;
  const GemmKernels& kernels_;
  const int threads_;
  size_t problem_ = 0;  // where the next pass starts
  int64_t panel_ = 0;
};

}  // namespace fathom
