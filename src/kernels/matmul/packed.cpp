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

int64_t panel_bytes_of(WeightFormat format, int64_t k, Compute compute, Activations activations) {
  if (activations == Activations::kInt8) return int8_panel_bytes(format, k);
  if (format != WeightFormat::kPlain) return block_panel_bytes(format, k);
  return packed_panel_bytes(k, compute == Compute::kF32 ? PanelFormat::kF32 : PanelFormat::kPairs);
}
// Where each part begins, and the end.
std::vector<int64_t> begins_of(std::span<const WeightPart> parts) {
  std::vector<int64_t> begins{0};
  for (const WeightPart& part : parts) begins.push_back(begins.back() + part.rows());
  return begins;
}

}  // namespace

std::string_view weight_format_name(WeightFormat format) {
  constexpr std::string_view kNames[kWeightFormats] = {"plain", "fp8",  "int8", "q8_0",     "q4_0",     "q4_1",
                                                       "q5_0",  "q4_k", "q6_k", "int4-g32", "int4-g128"};
  return kNames[static_cast<int>(format)];
}
std::string weight_format_names() {
  std::string list;
  for (int i = 0; i < kWeightFormats; ++i)
    list += (i ? ", " : "") + std::string(weight_format_name(static_cast<WeightFormat>(i)));
  return list;
}
std::optional<WeightFormat> weight_format_from_name(std::string_view name) {
  for (int i = 0; i < kWeightFormats; ++i)
    if (weight_format_name(static_cast<WeightFormat>(i)) == name) return static_cast<WeightFormat>(i);
  return std::nullopt;
}

WeightFormat format_of(GgmlType type) {
  switch (type) {
    case GgmlType::kQ8_0:
      return WeightFormat::kQ8_0;
    case GgmlType::kQ4_0:
      return WeightFormat::kQ4_0;
    case GgmlType::kQ4_1:
      return WeightFormat::kQ4_1;
    case GgmlType::kQ5_0:
      return WeightFormat::kQ5_0;
    case GgmlType::kQ4_K:
      return WeightFormat::kQ4_K;
    case GgmlType::kQ6_K:
      return WeightFormat::kQ6_K;
    default:
      return WeightFormat::kPlain;
  }
}

GgmlType type_of(WeightFormat format) {
  for (const GgmlType type :
       {GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ4_K, GgmlType::kQ6_K})
    if (format_of(type) == format) return type;
  return GgmlType::kF32;
}
int64_t k_multiple(WeightFormat format) {
  return is_int4(format) ? block_layout(format).group : ggml_type_info(type_of(format)).block;
}
WeightFormat fallback_format(WeightFormat format, int64_t k) {
  if (k % k_multiple(format) == 0) return format;
  if (format == WeightFormat::kQ4_K) return fallback_format(WeightFormat::kQ5_0, k);
  if (format == WeightFormat::kQ6_K) return fallback_format(WeightFormat::kQ8_0, k);
  return WeightFormat::kPlain;
}

WeightFormat WeightPart::format() const {
  switch (values.dtype()) {
    case DType::kF8E4M3:
      return WeightFormat::kFp8Block;
    case DType::kI8:
      return WeightFormat::kInt8Row;
    case DType::kI32:
      CHECK(scales.rank() == 2 && (k() == scales.dim(1) * 32 || k() == scales.dim(1) * 128));
      return k() == scales.dim(1) * 32 ? WeightFormat::kInt4Group32 : WeightFormat::kInt4Group128;
    case DType::kU8:
      return format_of(type);
    default:
      return WeightFormat::kPlain;
  }
}
int64_t WeightPart::k() const {
  if (values.dtype() == DType::kI32) return values.dim(1) * 8;
  if (values.dtype() != DType::kU8) return values.dim(transposed ? 0 : 1);
  const GgmlTypeInfo& info = ggml_type_info(type);
  return values.dim(1) / info.bytes * info.block;
}

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

int64_t PackedMatrix::bytes_of(int64_t k, std::span<const Rows> pieces, Compute compute, Activations activations) {
  constexpr int64_t kMost = int64_t{1} << 31;  // rows and columns: products of them fit
  int64_t bytes = 0;
  for (const Rows& piece : pieces) {
    if (activations == Activations::kInt8 && !takes_int8(piece.format)) return -1;
    if (k < 1 || k > kMost || piece.rows < 1 || piece.rows > kMost || bytes > (int64_t{1} << 62) / 2) return -1;
    bytes += (piece.rows + kPanel - 1) / kPanel * panel_bytes_of(piece.format, k, compute, activations);
  }
  return pieces.empty() ? -1 : bytes;
}

PackedMatrix PackedMatrix::kept(int64_t k, std::span<const Rows> pieces, Compute compute, Activations activations,
                                std::shared_ptr<const std::byte> data) {
  CHECK(!pieces.empty());
  PackedMatrix p;
  p.compute_ = compute;
  p.activations_ = activations;
  p.k_ = k;
  for (const Rows& piece : pieces) {
    p.plain_ |= piece.format == WeightFormat::kPlain;
    p.pieces_.push_back({data.get() + p.bytes_, piece.format, p.n_, piece.rows});
    p.n_ += piece.rows;
    p.bytes_ += (piece.rows + kPanel - 1) / kPanel * panel_bytes_of(piece.format, k, compute, activations);
  }
  p.storage_ = std::move(data);
  return p;
}

void PackedMatrix::pack_plain(std::span<const WeightPart> parts, std::span<const int64_t> begins, std::byte* to) {
  for (const WeightPart& part : parts)
    CHECK(part.values.rank() == 2 && !part.transposed && (direct(part.values) || part.values.dtype() == DType::kF16));
  const PanelFormat format = compute_ == Compute::kF32 ? PanelFormat::kF32 : PanelFormat::kPairs;
  const int64_t n = begins.back(), k = k_, panel_bytes = packed_panel_bytes(k, format);
  constexpr IsaTable<PackPanel> table = FATHOM_GEMM_TABLE(gemm_pack_panel);
  const PackPanel pack_panel = table.pick();
  parallel_for(
      (n + kPanel - 1) / kPanel, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::byte* out = to + i * panel_bytes;
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
}

}  // namespace fathom
