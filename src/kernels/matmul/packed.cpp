#include "kernels/matmul/packed.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/matmul/kernel_table.h"
#include "tensor/storage.h"

namespace fathom {

PackedMatrix PackedMatrix::pack(const Tensor& w, Compute compute) {
  CHECK_EQ(w.rank(), 2);
  CHECK(w.dtype() == DType::kF32 || w.dtype() == DType::kBF16);
  PackedMatrix p;
  p.n_ = w.dim(0);
  p.k_ = w.dim(1);
  p.compute_ = compute;
  const PanelFormat format = compute == Compute::kF32 ? PanelFormat::kF32 : PanelFormat::kPairs;
  const int64_t panels = (p.n_ + kPanel - 1) / kPanel, panel_bytes = packed_panel_bytes(p.k_, format);
  p.bytes_ = panels * panel_bytes;
  p.storage_ = allocate_storage(std::max<int64_t>(64, p.bytes_));
  p.data_ = p.storage_.get();
  const MatrixView view = {w.raw(), w.row_stride(), nullptr, w.dtype() == DType::kBF16, true};
  constexpr IsaTable<PackPanel> table = FATHOM_GEMM_TABLE(gemm_pack_panel);
  const PackPanel pack_panel = table.pick();
  parallel_for(panels, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   pack_panel(view, i, p.n_, p.k_, 0, p.k_, format, p.storage_.get() + i * panel_bytes);
               });
  return p;
}

}  // namespace fathom
