// Between the planner (gemm.cpp) and the kernels of each rung (gemm_cpu.cpp): plain data only.
#pragma once
#include <cstdint>

#include "kernels/matmul/block_format.h"

// What a rung's files compile (kernel_table.h).
#define FATHOM_GEMM_FMA (FATHOM_RUNG_LEVEL <= 2)
#define FATHOM_GEMM_DOT (FATHOM_RUNG_LEVEL == 0 || FATHOM_RUNG_LEVEL == 3)
#define FATHOM_GEMM_TILES (FATHOM_RUNG_LEVEL == 0 || FATHOM_RUNG_LEVEL == 2 || FATHOM_RUNG_LEVEL == 4)

namespace fathom {

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
  kF32,    // [k][32] floats
  kPairs,  // [k/2][32][2] bf16: VNNI order; k padded to 32 with zeros
  kWords,  // blocks of kWordsLayout: 16-bit integers with a power of two for every 32 k of a column
};
// A block of kWords: the exponents' bytes of the powers [4][32], as f32 has them; integers [k/2][32][2].
constexpr BlockLayout kWordsLayout = {32, 0, 4 * kPanel, 16, false, 0};
constexpr int64_t kWordsBlockBytes = kWordsLayout.header + kBlockK / 2 * kPanelRow;
// Bits of the largest integer of 32, for both sides of a product of kWords: 32 products stay below 2^31.
constexpr int kWordBits = 13;
constexpr int kWordBitsByCodes = 15;  // of a row, where the weight is one of codes of 8 bits at most

constexpr int64_t packed_panel_bytes(int64_t k, PanelFormat format) {
  switch (format) {
    case PanelFormat::kF32:
      return k * kPanelRow;
    case PanelFormat::kPairs:
      return padded_k(k) / 2 * kPanelRow;
    case PanelFormat::kWords:
      return (k + kBlockK - 1) / kBlockK * kWordsLayout.header + padded_k(k) / 2 * kPanelRow;
  }
  return 0;
}

// A block of C: rows [m0, m0 + rows) by panels [panel0, panel0 + panels).
struct GemmTile {
  MatrixView a, b;
  int64_t m0, rows, panel0, panels, n, k;
  const char* packed;          // B in panels; null: b is packed here, into b_scratch
  PanelFormat format;          // of `packed` or b_scratch
  WeightFormat weight_format;  // kPlain: `format` says how
  int64_t panel_bytes;         // from panel to panel of `packed`
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
  PanelFormat panel_format;  // of B without blocks, packed before or on the fly
  int max_rows;              // of a micro-tile
  int64_t (*a_bytes)(int64_t rows, int64_t super_k, bool k_contiguous);
  int64_t (*partial_bytes)(int64_t rows, int64_t panels, int64_t k, int64_t super_k);
  int super_factor;  // times the k of A that are packed at a time: 4 where an element takes a quarter of a float
  // `packed` holds blocks of `weight_format`; b_scratch: kBlockScratchBytes, and 4 bytes for every row and 16 k of super_k.
  void (*tile_blocks)(const GemmTile&);
};
// Packs panel columns [32 panel, min(n, 32 panel + 32)) for k in [k0, k0 + kc), padding included when it ends at k.
using PackPanel = void (*)(const MatrixView& b, int64_t panel, int64_t n, int64_t k0, int64_t kc, PanelFormat format,
                           void* out);

}  // namespace fathom
