// What a packed matrix is but for the packing and the products: the formats' names, sizes in bytes, matrices over bytes kept.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/packed.h"

namespace fathom {

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

int64_t PackedMatrix::panel_bytes_of(WeightFormat format, int64_t k, Compute compute, Activations activations) {
  if (activations == Activations::kInt8) return int8_panel_bytes(format, k);
  if (format != WeightFormat::kPlain) return block_panel_bytes(format, k);
  return packed_panel_bytes(k, panel_format(compute));
}

int64_t PackedMatrix::bytes_of(int64_t k, std::span<const Rows> pieces, Compute compute, Activations activations) {
  constexpr int64_t kMost = int64_t{1} << 29;  // rows and columns: the bytes of a piece stay below 2^61
  int64_t bytes = 0;
  for (const Rows& piece : pieces) {
    if (activations == Activations::kInt8 && !takes_int8(piece.format)) return -1;
    if (k < 1 || k > kMost || piece.rows < 1 || piece.rows > kMost || bytes > int64_t{1} << 61) return -1;
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

}  // namespace fathom
