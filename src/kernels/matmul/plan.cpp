#include "kernels/matmul/plan.h"

#include <algorithm>
#include <numeric>

namespace fathom {
namespace {

constexpr int64_t kSharedLimit = int64_t{8}
                                 << 20;  // bytes of packed B in one pass: kept by the process, so not more than speed asks for
constexpr int64_t kMaxBlockRows = 168;   // rows of A x kSuperK floats: 0.7 MB of a 1 or 2 MB L2; twice as many rows of bf16
constexpr int64_t kSuperK = 1024;
constexpr int64_t kMaxBlockPanels = 32;
constexpr int64_t kPackStepK = 1024;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// k of A packed at a time: more where there are fewer rows, so that few rows stream whole panels.
int64_t super_k(int64_t rows, int64_t k, int64_t factor) {
  const int64_t wanted = factor * std::max<int64_t>(kSuperK, kMaxBlockRows * kSuperK / std::max<int64_t>(rows, 1));
  return std::max<int64_t>(kBlockK, ceil_div(std::min(wanted, k), kBlockK) * kBlockK);
}

}  // namespace

GemmPlanner::GemmPlanner(std::span<const GemmProblem> problems, const GemmKernels& kernels, int threads)
    : problems_(problems), kernels_(kernels), threads_(threads) {}

// Row and column blocks of one product. Cost of a block in cycles: m n k / 32 for the FMAs, m k / 8 for packing A, and a
// constant; the slowest thread takes ceil(blocks / threads) of them.
GemmPlanner::Grid GemmPlanner::split(const GemmProblem& g, int64_t panels, int64_t wanted_blocks, bool alone) const {
  const int64_t min_rows = ceil_div(g.m, kernels_.panel_format == PanelFormat::kPairs ? 2 * kMaxBlockRows : kMaxBlockRows);
  Grid best = {min_rows, 1};
  double best_cost = 1e300;
  for (int64_t columns = 1; columns <= panels; columns = columns < 4 ? columns + 1 : columns * 5 / 4) {
    if (ceil_div(panels, columns) > kMaxBlockPanels && columns < panels) continue;
    int64_t rows = std::max(min_rows, std::min(ceil_div(wanted_blocks, columns), ceil_div(g.m, kernels_.max_rows)));
    if (alone)
      rows = std::min(
          ceil_div(rows, threads_ / std::gcd<int64_t>(threads_, columns)) * (threads_ / std::gcd<int64_t>(threads_, columns)),
          std::max(rows, ceil_div(g.m, 4)));
    const double m = static_cast<double>(ceil_div(g.m, rows)), n = static_cast<double>(ceil_div(panels, columns) * kPanel),
                 k = static_cast<double>(g.k);
    const double block = m * n * k / 32 + m * k / 8 + 2000;
    const double cost =
        alone ? block * static_cast<double>(ceil_div(rows * columns, threads_)) : block * static_cast<double>(rows * columns);
    if (cost < best_cost * 0.995) {
      best_cost = cost;
      best = {rows, columns};
    }
  }
  return best;
}

bool GemmPlanner::next(GemmPlan& plan) {
  plan.blocks.clear();
  plan.packs.clear();
  plan.share_b = false;
  plan.shared_bytes = 0;
  // The products of this pass, and how much work they are.
  const size_t first = problem_;
  const int64_t first_panel = panel_;
  int64_t bytes = 0;
  double work = 0;
  int count = 0;
  for (; problem_ < problems_.size(); ++problem_, panel_ = 0) {
    const GemmProblem& g = problems_[problem_];
    if (g.m == 0 || g.n == 0 || g.k == 0) continue;
    const int64_t panels = ceil_div(g.n, kPanel), size = g.packed ? 0 : packed_panel_bytes(g.k, kernels_.panel_format);
    const int64_t room = size == 0 ? panels : std::max<int64_t>(count == 0 ? 1 : 0, (kSharedLimit - bytes) / size);
    const int64_t taken = std::min(panels - panel_, room);
    if (taken == 0) break;
    bytes += taken * size;
    work += static_cast<double>(g.m) * static_cast<double>(taken * kPanel) * static_cast<double>(g.k);
    ++count;
    panel_ += taken;
    if (panel_ < panels) break;
  }
  if (count == 0) return false;

  for (size_t i = first; i < problems_.size() && (i < problem_ || (i == problem_ && panel_ > 0)); ++i) {
    const GemmProblem& g = problems_[i];
    if (g.m == 0 || g.n == 0 || g.k == 0) continue;
    const int64_t panel_begin = i == first ? first_panel : 0, panel_end = i == problem_ ? panel_ : ceil_div(g.n, kPanel);
    const int64_t panels = panel_end - panel_begin;
    const double share = static_cast<double>(g.m) * static_cast<double>(panels * kPanel) * static_cast<double>(g.k) / work;
    const int64_t wanted = count == 1 ? threads_ : std::max<int64_t>(1, static_cast<int64_t>(share * 4 * threads_ + 0.5));
    const Grid grid = split(g, panels, wanted, count == 1);
    for (int64_t c = 0; c < grid.column_blocks; ++c) {
      const int64_t p0 = panel_begin + panels * c / grid.column_blocks,
                    p1 = panel_begin + panels * (c + 1) / grid.column_blocks;
      for (int64_t r = 0; r < grid.row_blocks; ++r) {
        const int64_t m0 = g.m * r / grid.row_blocks, m1 = g.m * (r + 1) / grid.row_blocks;
        if (m1 > m0 && p1 > p0)
          plan.blocks.push_back(
              {static_cast<int64_t>(i), m0, m1 - m0, p0, p1 - p0, super_k(m1 - m0, g.k, kernels_.super_factor), 0});
      }
    }
    if (grid.row_blocks > 1 && !g.packed) plan.share_b = true;
  }
  if (!plan.share_b) return true;

  // Where each product's panels stand in the shared scratch, and the pieces in which they are packed.
  size_t block = 0;
  for (size_t i = first; i < problems_.size() && (i < problem_ || (i == problem_ && panel_ > 0)); ++i) {
    const GemmProblem& g = problems_[i];
    if (g.m == 0 || g.n == 0 || g.k == 0) continue;
    const int64_t panel_begin = i == first ? first_panel : 0, panel_end = i == problem_ ? panel_ : ceil_div(g.n, kPanel);
    const int64_t size = packed_panel_bytes(g.k, kernels_.panel_format), base = plan.shared_bytes;
    const int64_t together = std::max<int64_t>(1, 256 / std::max<int64_t>(1, g.k));
    for (int64_t p = panel_begin; p < panel_end; p += together)
      for (int64_t k0 = 0; k0 < g.k; k0 += kPackStepK)
        plan.packs.push_back({static_cast<int64_t>(i), p, std::min(panel_end, p + together), k0, std::min(kPackStepK, g.k - k0),
                              base + (p - panel_begin) * size, size});
    for (; block < plan.blocks.size() && plan.blocks[block].problem == static_cast<int64_t>(i); ++block)
      plan.blocks[block].b_offset = base - panel_begin * size;
    plan.shared_bytes += (panel_end - panel_begin) * size;
  }
  return true;
}

}  // namespace fathom
