#include "kernels/matmul/packed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/kernel_table.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

MatrixView view_of(const Tensor& w) { return {w.raw(), w.row_stride(), nullptr, w.dtype() == DType::kBF16, true}; }
bool direct(const Tensor& w) { return w.dtype() == DType::kF32 || w.dtype() == DType::kBF16; }

// Where each part begins, and the end.
std::vector<int64_t> begins_of(std::span<const WeightPart> parts) {
  std::vector<int64_t> begins{0};
  for (const WeightPart& part : parts) begins.push_back(begins.back() + part.rows());
  return begins;
}

}  // namespace

PackedMatrix PackedMatrix::pack(const Tensor& w, Compute compute) {
  CHECK_EQ(w.rank(), 2);
  WeightPart part;
  part.values = w;
  return pack({&part, 1}, compute);
}

PackedMatrix PackedMatrix::pack(std::span<const WeightPart> parts, Compute compute, Activations activations) {
  CHECK(!parts.empty());
  PackedMatrix p;
  p.compute_ = compute;
  p.activations_ = activations;
  p.k_ = parts[0].k();
  struct Run {  // parts of one format
    size_t first, count;
    int64_t offset;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < parts.size();) {
    size_t end = i;
    int64_t rows = 0;
    for (; end < parts.size() && parts[end].format() == parts[i].format(); ++end) {
      CHECK_EQ(parts[end].k(), p.k_);
      rows += parts[end].rows();
    }
    const WeightFormat format = parts[i].format();
    p.plain_ |= format == WeightFormat::kPlain;
    if (activations == Activations::kInt8) CHECK(takes_int8(format));
    runs.push_back({i, end - i, p.bytes_});
    p.pieces_.push_back({nullptr, format, p.n_, rows});
    p.n_ += rows;
    p.bytes_ += (rows + kPanel - 1) / kPanel * panel_bytes_of(format, p.k_, compute, activations);
    i = end;
  }
  const std::shared_ptr<std::byte> storage = allocate_weights(std::max<int64_t>(64, p.bytes_));
  p.storage_ = storage;
  for (size_t i = 0; i < runs.size(); ++i) {
    std::byte* out = storage.get() + runs[i].offset;
    p.pieces_[i].data = out;
    const auto run = parts.subspan(runs[i].first, runs[i].count);
    const std::vector<int64_t> begins = begins_of(run);
    p.pieces_[i].format == WeightFormat::kPlain ? p.pack_plain(run, begins, out) : p.pack_blocks(run, begins, out);
  }
  return p;
}

void PackedMatrix::pack_plain(std::span<const WeightPart> parts, std::span<const int64_t> begins, std::byte* to) {
  for (const WeightPart& part : parts)
    CHECK(part.values.rank() == 2 && !part.transposed && (direct(part.values) || part.values.dtype() == DType::kF16));
  const PanelFormat format = panel_format(compute_);
  const int64_t n = begins.back(), k = k_, panel_bytes = packed_panel_bytes(k, format);
  const PackPanel pack_panel = kPackPanels.pick();
  parallel_for(
      (n + kPanel - 1) / kPanel, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::byte* out = to + i * panel_bytes;
          const int64_t row = i * kPanel, rows = std::min(kPanel, n - row);
          const size_t part = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
          if (row + rows <= begins[part + 1] && direct(parts[part].values)) {
            const Tensor rows_of_part = parts[part].values.slice_rows(row - begins[part], row - begins[part] + rows);
            pack_panel(view_of(rows_of_part), 0, rows, 0, k, format, out);
            continue;
          }
          // Half precision, or a panel over the border of two parts: gathered as floats first.
          Tensor gathered = Tensor::empty({rows, k}, DType::kF32);
          for (int64_t r = 0; r < rows; ++r) {
            const size_t of = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row + r) - begins.begin()) - 1;
            const int64_t at = row + r - begins[of];
            gathered.slice_rows(r, r + 1).copy_from(parts[of].values.slice_rows(at, at + 1));
          }
          pack_panel(view_of(gathered), 0, rows, 0, k, format, out);
        }
      });
}

}  // namespace fathom
