#include "kernels/matmul/packed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/kernel_table.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

MatrixView view_of(const Tensor& w) { return {w.raw(), w.row_stride(), nullptr, w.dtype() == DType::kBF16, true}; }
bool direct(const Tensor& w) { return w.dtype() == DType::kF32 || w.dtype() == DType::kBF16; }

}  // namespace

void PackedMatrix::allocate(int64_t n, int64_t k, int64_t panel_bytes) {
  n_ = n;
  k_ = k;
  bytes_ = (n + kPanel - 1) / kPanel * panel_bytes;
  storage_ = allocate_storage(std::max<int64_t>(64, bytes_));
  data_ = storage_.get();
}

PackedMatrix PackedMatrix::pack(const Tensor& w, Compute compute) {
  CHECK_EQ(w.rank(), 2);
  const WeightPart part{w, {}, 0, false};
  return pack({&part, 1}, compute);
}

PackedMatrix PackedMatrix::pack(std::span<const WeightPart> parts, Compute compute) {
  CHECK(!parts.empty());
  if (parts[0].is_fp8()) return pack_fp8(parts);
  std::vector<int64_t> begins{0};
  for (const WeightPart& part : parts) {
    CHECK(part.values.rank() == 2 && !part.transposed && (direct(part.values) || part.values.dtype() == DType::kF16));
    CHECK_EQ(part.k(), parts[0].k());
    begins.push_back(begins.back() + part.rows());
  }
  PackedMatrix p;
  p.compute_ = compute;
  const PanelFormat format = compute == Compute::kF32 ? PanelFormat::kF32 : PanelFormat::kPairs;
  const int64_t n = begins.back(), k = parts[0].k(), panel_bytes = packed_panel_bytes(k, format);
  p.allocate(n, k, panel_bytes);
  constexpr IsaTable<PackPanel> table = FATHOM_GEMM_TABLE(gemm_pack_panel);
  const PackPanel pack_panel = table.pick();
  parallel_for(
      (n + kPanel - 1) / kPanel, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::byte* out = p.storage_.get() + i * panel_bytes;
          const int64_t row = i * kPanel, rows = std::min(kPanel, n - row);
          const size_t part = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
          if (row + rows <= begins[part + 1] && direct(parts[part].values)) {
            const Tensor rows_of_part = parts[part].values.slice_rows(row - begins[part], row - begins[part] + rows);
            pack_panel(view_of(rows_of_part), 0, rows, k, 0, k, format, out);
            continue;
          }
          // Half precision, or a panel over the border of two parts: gathered as floats first.
          Tensor gathered = Tensor::empty({rows, k}, DType::kF32);
          for (int64_t r = 0; r < rows; ++r) {
            const size_t of = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row + r) - begins.begin()) - 1;
            const int64_t at = row + r - begins[of];
            gathered.slice_rows(r, r + 1).copy_from(parts[of].values.slice_rows(at, at + 1));
          }
          pack_panel(view_of(gathered), 0, rows, k, 0, k, format, out);
        }
      });
  return p;
}

}  // namespace fathom
