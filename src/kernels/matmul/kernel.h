// Between the planner (gemm.cpp) and the kernels of each rung (gemm_cpu.cpp): plain data only.
#pragma once
#include <cstdint>

#include "tensor/format/fp8_block.h"

namespace fathom {

constexpr int64_t kPanel = 32;      // columns of a packed panel of B
constexpr int64_t kBlockK = 128;    // k of a block: a panel block (16 KiB in f32) and a micro-tile of A (8 KiB) share L1
constexpr int64_t kPanelRow = 128;  // bytes of a panel for one k (f32) or one pair of k (bf16)

// An operand. Lane i of A is a row of C, lane i of B a column of C. Memory row r starts at data + rows[r] ld (rows null: r).
//   k_contiguous: memory rows are lanes, k runs inside a row. Otherwise memory rows are k and lanes run inside a row.
struct MatrixView {
  const void* data = nullptr;
  int64_t ld = 0;
  const int32_t* rows = nullptr;
  bool bf16 = false;
  bool k_contiguous = true;
};

// How a packed panel of 32 columns stores its elements.
enum class PanelFormat : uint8_t {
  kF32,         // [k][32] floats
  kF32Rounded,  // the same, rounded to bf16 first; k padded to even with zeros
  kPairs,       // [k/2][32][2] bf16: VNNI order; k padded to 32 with zeros
};

constexpr int64_t packed_panel_bytes(int64_t k, PanelFormat format) {
  return format == PanelFormat::kF32          ? k * kPanelRow
         : format == PanelFormat::kF32Rounded ? (k + 1) / 2 * 2 * kPanelRow
                                              : (k + 31) / 32 * 16 * kPanelRow;
}

// DeepSeek's FP8 blocks, packed: a panel is its blocks of 128 k one after another, each 32 floats (256 x the block scale of
// every column) and then [k][32] bytes of E4M3, k padded to 32 with zeros. 128 k have one scale, which multiplies their sum;
// kernels widen a byte to its value / 256 (a half-precision pattern, exact), so the scale carries the 256.
constexpr float kFp8Widened = 0x1p-8f;
constexpr int64_t kFp8ScaleBytes = kPanel * 4;
constexpr int64_t kFp8BlockBytes = kFp8ScaleBytes + kFp8Block * kPanel;
constexpr int64_t fp8_panel_bytes(int64_t k) {
  const int64_t rest = k % kFp8Block;
  return k / kFp8Block * kFp8BlockBytes + (rest ? kFp8ScaleBytes + (rest + 31) / 32 * 32 * kPanel : 0);
}

// A block of C: rows [m0, m0 + rows) by panels [panel0, panel0 + panels).
struct GemmTile {
  MatrixView a, b;
  int64_t m0, rows, panel0, panels, n, k;
  const char* packed;   // B in panels; null: b is packed here, into b_scratch
  PanelFormat format;   // of `packed` or b_scratch
  int64_t panel_bytes;  // from panel to panel of `packed`
  void* c;
  int64_t ldc;
  const void* bias;
  bool c_bf16, accumulate, bias_bf16;
  int64_t super_k;  // k of A that is packed at a time; a multiple of kBlockK
  char *a_scratch, *b_scratch;
  float* partial;  // unfinished sums
};

struct GemmKernels {
  void (*tile)(const GemmTile&);
  PanelFormat fly_format;  // of B packed on the fly
  int max_rows;            // of a micro-tile
  int k_multiple;          // k is padded to it
  int64_t (*a_bytes)(int64_t rows, int64_t super_k, bool k_contiguous);
  int64_t (*partial_bytes)(int64_t rows, int64_t panels, int64_t k, int64_t super_k);
  void (*tile_fp8)(const GemmTile&);  // `packed` holds FP8 blocks; b_scratch: kFp8ScratchBytes
};
constexpr int64_t kFp8ScratchBytes = kFp8Block * kPanelRow;  // one block of a panel, widened
// Packs panel columns [32 panel, min(n, 32 panel + 32)) for k in [k0, k0 + kc), padding included when it ends at k.
using PackPanel = void (*)(const MatrixView& b, int64_t panel, int64_t n, int64_t k, int64_t k0, int64_t kc, PanelFormat format,
                           void* out);

}  // namespace fathom
