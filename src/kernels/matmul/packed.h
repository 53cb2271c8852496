// A weight in the panel layout of the current ISA rung: what Linear keeps for inference and rollouts.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/matmul/block_format.h"
#include "tensor/format/ggml_type.h"
#include "tensor/tensor.h"

namespace fathom {

enum class Compute : uint8_t { kF32, kBF16 };
inline DType compute_dtype(Compute c) { return c == Compute::kF32 ? DType::kF32 : DType::kBF16; }

// Rows of a weight as a file or a Parameter holds them; several below each other make one fused operand.
struct WeightPart {
  // [rows, K] F32, BF16 or F16: plain. F8_E4M3 and I8: with `scales`. I32: [rows, K / 8], 8 codes of 4 bits a word from the low
  // bits up, value code - 8, with `scales`. U8: [rows, bytes of a row] in blocks of `type`.
  Tensor values;
  // F8_E4M3: [ceil(R / 128), ceil(K / 128)] F32 of the whole published tensor of R rows. I8: [rows] F32. I32: [rows, K / 32] or
  // [rows, K / 128] F32.
  Tensor scales;
  // F8_E4M3: `values` are rows (transposed: columns of them, [K, rows] as stored) from `first_row` of the published tensor.
  int64_t first_row = 0;
  bool transposed =
      false;  // the operand is the transpose; K then may not straddle a border of two blocks unless it starts at one
  GgmlType type = GgmlType::kF32;

  WeightFormat format() const;
  bool is_fp8() const { return format() == WeightFormat::kFp8Block; }
  int64_t rows() const { return values.dim(transposed ? 1 : 0); }
  int64_t k() const;
  int64_t bytes() const { return values.bytes() + (scales.defined() ? scales.bytes() : 0); }
  // Whether `first_row` and k() allow the transposed operand (heads of MLA's absorbed keys).
  bool blocks_fit() const { return !transposed || first_row % kFp8Block == 0 || first_row % kFp8Block + k() <= kFp8Block; }
};
std::string_view weight_format_name(WeightFormat format);  // "plain", "fp8", "int8", "q8_0", …
std::string weight_format_names();                         // all, with commas
std::optional<WeightFormat> weight_format_from_name(std::string_view name);
GgmlType type_of(WeightFormat format);    // GGUF's type of a format; kF32 for the others
int64_t k_multiple(WeightFormat format);  // k of a row come in multiples of this
// `format`, or for a k that its blocks do not divide what GGUF writers take there: Q5_0 for Q4_K, Q8_0 for Q6_K, then kPlain.
WeightFormat fallback_format(WeightFormat format, int64_t k);
// The format that computes on GGUF's `type` as it is; kPlain where there is none, and it must be expanded.
WeightFormat format_of(GgmlType type);

class PackedMatrix {
 public:
  // Parts of one format that lie next to each other: rows [begin, begin + n) of the operand, in panels of their own.
  struct Piece {
    const void* data;
    WeightFormat format;
    int64_t begin, n;
  };
  PackedMatrix() = default;
  // w: [N, K] F32 or BF16 (row-strided allowed). Multi-threaded. The layout belongs to isa() at the time of the call.
  static PackedMatrix pack(const Tensor& w, Compute compute);
  // The parts below each other, each in its format. Reads each source byte once.
  // kInt8: for rows of int8 alone; every part's format takes_int8().
  static PackedMatrix pack(std::span<const WeightPart> parts, Compute compute, Activations activations = Activations::k16Bit);
  // Bytes that were packed before, in this layout and on this rung; they are not written, and live as long as the matrix.
  struct Rows {
    WeightFormat format;
    int64_t rows;
  };
  static PackedMatrix kept(int64_t k, std::span<const Rows> pieces, Compute compute, Activations activations,
                           std::shared_ptr<const std::byte> data);
  // -1: no such matrix can be.
  static int64_t bytes_of(int64_t k, std::span<const Rows> pieces, Compute compute, Activations activations);
  const std::byte* data() const { return storage_.get(); }  // bytes() of them, piece after piece
  bool defined() const { return !pieces_.empty(); }
  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  Activations activations() const { return activations_; }
  bool computes(Compute compute) const { return !plain_ || compute_ == compute; }
  std::span<const Piece> pieces() const { return pieces_; }
  int64_t bytes() const { return bytes_; }
  bool has_nan() const { return has_nan_; }  // a byte was NaN, or a scale not finite; such a weight must not be used

 private:
  static int64_t panel_bytes_of(WeightFormat format, int64_t k, Compute compute, Activations activations);
  // begins: the row at which each part begins, and the end.
  void pack_plain(std::span<const WeightPart> parts, std::span<const int64_t> begins, std::byte* out);
  void pack_blocks(std::span<const WeightPart> parts, std::span<const int64_t> begins, std::byte* out);
  int64_t n_ = 0, k_ = 0, bytes_ = 0;
  Compute compute_ = Compute::kF32;
  Activations activations_ = Activations::k16Bit;
  bool plain_ = false, has_nan_ = false;
  std::vector<Piece> pieces_;
  std::shared_ptr<const std::byte> storage_;
};

}  // namespace fathom
