// How a packed weight of each WeightFormat lies in memory, and where it comes from. Plain data, no arithmetic.
//
// A panel holds 32 columns. It is a row of blocks of 128 k; a block is a header of scales and then the codes, k padded to a
// multiple of 32 with codes of value 0. A group is the k that share a scale; the GEMM sums a group's products by
// themselves, on exact small integers, and adds that sum times the scale (gemm.h).
//
// Codes of 4 k by 32 columns make vectors of 32 16-bit words: word 2i of `half` h is column 16h + i at the even k, word
// 2i + 1 at the odd one.
//   bytes     64 bytes a pair of k: in each 16-byte lane L, bytes 0-7 are half 0's words 8L.., bytes 8-15 half 1's
//   nibbles   64 bytes, 32 words, for 4 k: bits 4j of a word are vector j: (pair 0, half 0), (0, 1), (1, 0), (1, 1)
//   fifth bits   after a block's nibbles: 64 bytes for 16 k: bit 8p + 2q + h of a word goes with pair p, half h of its quad q
//   upper two    after a block's nibbles: 64 bytes for 8 k: bits 8p + 4q + 2h and the next likewise
#pragma once
#include <cstdint>

#include "tensor/format/fp8_block.h"

namespace fathom {

constexpr int64_t kPanel = 32;      // columns of a packed panel of B
constexpr int64_t kBlockK = 128;    // k of a block: a panel block (16 KiB in f32) and a micro-tile of A (8 KiB) share L1
constexpr int64_t kPanelRow = 128;  // bytes of a panel for one k (f32) or one pair of k (bf16)
static_assert(kBlockK == kFp8Block);

// How a packed weight stores its values. A format is computed on as it is stored: a row of block_layout(), a decoder in
// decode_codes.h, a reader in packed_blocks.cpp; nothing above knows more than the name.
enum class WeightFormat : uint8_t {
  kPlain,     // f32 or bf16, as the GEMM computes
  kFp8Block,  // E4M3 bytes, one f32 scale for every 128 x 128 block (report §3.3.2): the same bytes for both compute types
  kInt8Row,   // int8, one f32 scale a row: W8A16 (inference-serving.md §1.3)
  kQ8_0,      // GGUF's block types (architecture.md §2.7)
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ4_K,
  kQ6_K,
  kInt4Group32,  // 4-bit integers, one f32 scale for 32 or 128 k of a row: W4A16 (compressed-tensors' pack-quantized)
  kInt4Group128,
};
constexpr int kWeightFormats = 11;

struct BlockLayout {
  int64_t group;      // k that share a scale
  int64_t head;       // bytes at the start of a panel, before its blocks
  int64_t header;     // bytes of scales at the start of a block
  int64_t code_bits;  // of one code: 8, 4, 5, 6
  bool has_min;       // value = scale x code + min
  // What is stored is this much above the code. FMAs multiply what is stored: a group's chain begins at -offset x (the sum of
  // its row of A).
  int64_t offset;
};
constexpr BlockLayout block_layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::kPlain:
      break;
    case WeightFormat::kFp8Block:
      return {128, 0, kPanel * 4, 8, false, 0};  // 32 floats; the codes are [k][32] bytes
    case WeightFormat::kInt8Row:
      return {128, kPanel * 4, 0, 8, false, 0};  // 32 floats a panel
    case WeightFormat::kQ8_0:
      return {32, 0, 4 * kPanel * 2, 8, false, 0};  // f16 [4][32]
    case WeightFormat::kQ4_0:
      return {32, 0, 4 * kPanel * 2, 4, false, 8};
    case WeightFormat::kQ4_1:
      return {32, 0, 8 * kPanel * 2, 4, true, 0};  // f16 scales [4][32], f16 minima [4][32]
    case WeightFormat::kQ5_0:
      return {32, 0, 4 * kPanel * 2, 5, false, 16};
    case WeightFormat::kQ4_K:
      // f16 d [32], f16 dmin [32], u8 scales [4][32], u8 minima [4][32]
      return {32, 0, 2 * kPanel * 2 + 8 * kPanel, 4, true, 0};
    case WeightFormat::kQ6_K:
      return {16, 0, kPanel * 2 + 8 * kPanel, 6, false, 32};  // f16 d [32], i8 scales [8][32]
    case WeightFormat::kInt4Group32:
      // floats [4][32]: files have them in bf16 or f16, and neither holds the other
      return {32, 0, 4 * kPanel * 4, 4, false, 8};
    case WeightFormat::kInt4Group128:
      return {128, 0, kPanel * 4, 4, false, 8};  // 32 floats
  }
  return {0, 0, 0, 0, false, 0};
}
constexpr bool is_int4(WeightFormat format) {
  return format == WeightFormat::kInt4Group32 || format == WeightFormat::kInt4Group128;
}
// Rungs that do not multiply bf16 as such take these by rows of integers (gemm.h).
constexpr bool has_integer_codes(WeightFormat format) {
  return format != WeightFormat::kPlain && format != WeightFormat::kFp8Block;
}
constexpr int64_t kMaxBlockHeader = 512;
constexpr int64_t padded_k(int64_t k) { return (k + 31) / 32 * 32; }
constexpr int64_t block_bytes(WeightFormat format, int64_t k) {  // of a block of k <= 128
  return block_layout(format).header + padded_k(k) * kPanel * block_layout(format).code_bits / 8;
}
constexpr int64_t block_panel_bytes(WeightFormat format, int64_t k) {
  return block_layout(format).head + k / kBlockK * block_bytes(format, kBlockK) +
         (k % kBlockK ? block_bytes(format, k % kBlockK) : 0);
}
// Scratch of a tile over blocks: one block of a panel as floats or pairs (twice as many where a tile step takes two groups),
// and its scales and minima, at most 8 groups each.
constexpr int64_t kBlockCodesBytes = 2 * kBlockK * kPanelRow, kBlockScalesBytes = 8 * kPanel * 4,
                  kBlockScratchBytes = kBlockCodesBytes + 2 * kBlockScalesBytes;

// What the codes of a weight are multiplied with.
enum class Activations : uint8_t {
  k16Bit,  // f32 or bf16, as the GEMM computes
  kInt8,   // rows of int8 with a scale for every 32 or 64 k (int8_rows.h)
};
// A weight for int8 rows is packed otherwise. A panel holds the scale of each column, where there is one; then, of K types, for
// every 256 k their factors, f16 d [32] (and dmin [32]); then its groups. A group is a header and its codes, unsigned:
// 2^offset_bits was added where that is not 0. The header: f16 scales [32] (and minima [32]); of Q4_K u8 scales [32] and minima
// [32]; of Q6_K the i8 scales of both its halves [2][32]; of int4 f32 scales [32].
//   bytes     [k / 4][32 columns][4]: a vector is 4 k of 16 columns
//   nibbles   [k / 8][32 columns][4]: k to k + 3 in the lower nibbles, k + 4 to k + 7 in the upper ones. 16 columns of 4 k in
//             this order are vector 0, 1, 2 (upper nibbles), 3 …
//   fifth bits, upper two   behind a group's nibbles: 64 bytes for 8 or 4 of these vectors, from the lowest bits up
struct Int8Layout {
  // k of a row of int8 that share a scale, and of the weight, but for kInt8Row (all of a row) and kInt4Group128; k is padded to
  // its multiples. 0: there is no kernel for the format.
  int64_t group;
  int64_t head, factors, header, code_bits;  // bytes; `factors`: for 256 k
  int offset_bits;
  bool has_min;
};
constexpr Int8Layout int8_layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::kInt8Row:
      return {64, kPanel * 4, 0, 0, 8, 7, false};
    case WeightFormat::kQ8_0:
      return {32, 0, 0, kPanel * 2, 8, 7, false};
    case WeightFormat::kQ4_0:
      return {32, 0, 0, kPanel * 2, 4, 3, false};
    case WeightFormat::kQ4_1:
      return {32, 0, 0, kPanel * 4, 4, 0, true};
    case WeightFormat::kQ5_0:
      return {32, 0, 0, kPanel * 2, 5, 4, false};
    case WeightFormat::kQ4_K:
      return {32, 0, kPanel * 4, kPanel * 2, 4, 0, true};
    case WeightFormat::kQ6_K:
      return {32, 0, kPanel * 2, kPanel * 2, 6, 5, false};
    case WeightFormat::kInt4Group32:
    case WeightFormat::kInt4Group128:  // a scale four times, so that both are one
      return {32, 0, 0, kPanel * 4, 4, 3, false};
    default:
      return {0, 0, 0, 0, 0, 0, false};
  }
}
constexpr bool takes_int8(WeightFormat format) { return int8_layout(format).group > 0; }
constexpr int64_t int8_group_bytes(WeightFormat format) {
  const Int8Layout layout = int8_layout(format);
  return layout.header + layout.group * kPanel * layout.code_bits / 8;
}
constexpr int64_t int8_head_bytes(WeightFormat format, int64_t k) {  // of a panel, before its groups
  return int8_layout(format).head + (k + 255) / 256 * int8_layout(format).factors;
}
constexpr int64_t int8_panel_bytes(WeightFormat format, int64_t k) {
  const int64_t group = int8_layout(format).group;
  return int8_head_bytes(format, k) + (k + group - 1) / group * int8_group_bytes(format);
}

// E4M3 bytes are widened to value / 256 (a half-precision pattern, exact); the packed scale carries the 256.
constexpr float kFp8Widened = 0x1p-8f;

}  // namespace fathom
