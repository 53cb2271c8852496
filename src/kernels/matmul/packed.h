// A weight in the panel layout of the current ISA rung: what Linear keeps for inference and rollouts.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "tensor/format/fp8_block.h"
#include "tensor/tensor.h"

namespace fathom {

enum class Compute : uint8_t { kF32, kBF16 };
inline DType compute_dtype(Compute c) { return c == Compute::kF32 ? DType::kF32 : DType::kBF16; }

// How a packed weight stores its values. A format is computed on as it is stored: a row here, a panel layout in kernel.h and a
// tile kernel per form of arithmetic; nothing above knows more than the name.
enum class WeightFormat : uint8_t {
  kPlain,     // f32 or bf16, as the GEMM computes
  kFp8Block,  // E4M3 bytes, one f32 scale for every 128 x 128 block (report §3.3.2): the same bytes for both compute types
};

// Rows of a weight as a file or a Parameter holds them; several beside each other make one fused operand.
struct WeightPart {
  Tensor values;  // [rows, K] F32, BF16, F16, or F8_E4M3
  Tensor scales;  // F8_E4M3: [ceil(R / 128), ceil(K / 128)] F32 of the whole published tensor of R rows
  // F8_E4M3: `values` are rows (transposed: columns of them, [K, rows] as stored) from `first_row` of the published tensor.
  int64_t first_row = 0;
  bool transposed =
      false;  // the operand is the transpose; K then may not straddle a border of two blocks unless it starts at one

  bool is_fp8() const { return values.dtype() == DType::kF8E4M3; }
  int64_t rows() const { return values.dim(transposed ? 1 : 0); }
  int64_t k() const { return values.dim(transposed ? 0 : 1); }
  // Whether `first_row` and k() allow the transposed operand (heads of MLA's absorbed keys).
  bool blocks_fit() const { return !transposed || first_row % kFp8Block == 0 || first_row % kFp8Block + k() <= kFp8Block; }
};

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // w: [N, K] F32 or BF16 (row-strided allowed). Multi-threaded. The layout belongs to isa() at the time of the call.
  static PackedMatrix pack(const Tensor& w, Compute compute);
  // The parts below each other: all in FP8 blocks, or none. Reads each source byte once.
  static PackedMatrix pack(std::span<const WeightPart> parts, Compute compute);
  bool defined() const { return storage_ != nullptr; }
  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  bool computes(Compute compute) const { return format_ != WeightFormat::kPlain || compute_ == compute; }
  WeightFormat format() const { return format_; }
  const void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool has_nan() const { return has_nan_; }  // FP8: a byte was NaN, or a scale not finite; such a weight must not be used

 private:
  static PackedMatrix pack_fp8(std::span<const WeightPart> parts);
  void allocate(int64_t n, int64_t k, int64_t panel_bytes);
  int64_t n_ = 0, k_ = 0, bytes_ = 0;
  Compute compute_ = Compute::kF32;
  WeightFormat format_ = WeightFormat::kPlain;
  bool has_nan_ = false;
  void* data_ = nullptr;
  std::shared_ptr<std::byte> storage_;
};

}  // namespace fathom
