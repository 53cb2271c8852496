// One block of C on one thread, for every rung: the loops around the micro-kernel, and the same over AMX tiles.
#include "kernels/matmul/gemm_blocks_cpu.h"
#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack_a.h"
#include "kernels/matmul/tile_square.h"

namespace fathom::FATHOM_RUNG {
namespace {

#if FATHOM_GEMM_FMA || FATHOM_GEMM_DOT
// Rows of B that the next pass over the columns packs, where they are one run of memory: a pass is short where rows of A are
// few, and would wait for them. Each micro-tile fetches its share, a line a unit at most.
struct RowsAhead {
  const char* at = nullptr;
  int64_t step = 0;
  // vectors [vector, vector + v) of the block's columns; steps: micro-tiles x units.
  void aim(const GemmTile& t, int64_t vector, int64_t v, int64_t steps) {
    const int64_t row_bytes = t.k * (t.b.bf16 ? 2 : 4);
    if (t.b.rows || !t.b.k_contiguous || t.b.ld != t.k || t.super_k < t.k) return;
    at = static_cast<const char*>(t.b.data) + (t.panel0 * kPanel + vector * 16) * row_bytes;
    step = v * 16 * row_bytes / steps + 1;
  }
};

template <class Op, bool kAlong>
void tile(const GemmTile& t) {
  const int64_t micros = (t.rows + kMaxRows - 1) / kMaxRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = round_up(t.k, Op::kUnitK);
  const int64_t vectors = 2 * t.panels;
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_a<Op, false>(t, micros, ks, ke, t.k);
    int64_t slot = 0;
    for (int64_t vector = 0; vector < vectors;) {
      int v = vectors_for(static_cast<int>(small + (large > 0)));
      if (v > vectors - vector) v = kMinVectors;
      const Micro kernels[2] = {
          pick_micro<Op, kAlong, kMaxRows>(static_cast<int>(small), v),
          pick_micro<Op, kAlong, kMaxRows>(static_cast<int>(small + 1 <= kMaxRows ? small + 1 : small), v)};
      const char* b;
      RowsAhead rows_ahead;
      int64_t panel_bytes = t.panel_bytes;
      if (t.packed) {
        b = t.packed + (t.panel0 + vector / 2) * panel_bytes + ks / Op::kUnitK * kPanelRow;
      } else {
        panel_bytes = t.super_k / Op::kUnitK * kPanelRow;
        if (vector % 2 == 0)
          for (int64_t p = 0; p < (v + 1) / 2; ++p)
            pack_panel(t.b, t.panel0 + vector / 2 + p, t.n, ks, least(t.k, ke) - ks, t.format, t.b_scratch + p * panel_bytes);
        b = t.b_scratch;
        rows_ahead.aim(t, vector + v, v, micros * (k_end / Op::kUnitK));
      }
      b += vector % 2 * 64;
      const int64_t column = t.panel0 * kPanel + vector * 16, columns = least(v * 16, t.n - column);
      const bool plain = columns == v * 16 && !t.bias && !(t.c_bf16 && t.accumulate);
      const Finish finish = !plain         ? Finish::kPartial
                            : t.c_bf16     ? Finish::kStoreBf16
                            : t.accumulate ? Finish::kAddF32
                                           : Finish::kStoreF32;
      const int64_t first_slot = t.super_k >= k_end ? 0 : slot;
      for (int64_t k0 = ks; k0 < ke && columns > 0; k0 += kBlockK) {
        const bool last = k0 + kBlockK >= k_end;
        int64_t m = 0;
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t rows = small + (i < large);
          const int64_t block = (k0 - ks) / kBlockK;
          MicroArgs x;
          x.a = reinterpret_cast<const float*>(t.a_scratch) +
                (kAlong ? (block * t.rows + m) * Op::kRowWords : (block * micros + i) * kBlockK * kMicroLanes);
          x.b = b + (k0 - ks) / Op::kUnitK * kPanelRow;
          x.b_panel_bytes = panel_bytes;
          x.b_step = kPanelRow / micros + 1;
          x.b_ahead = x.b + kBlockK / Op::kUnitK * kPanelRow + i * x.b_step * (kBlockK / Op::kUnitK);
          x.units = (least(ke, k0 + kBlockK) - k0) / Op::kUnitK;
          if (rows_ahead.at) {
            x.b_ahead = rows_ahead.at;
            x.b_step = rows_ahead.step;
            rows_ahead.at += x.units * x.b_step;
          }
          x.partial = t.partial + (first_slot + i) * kMaxVectors * 16;
          x.resume = k0 > 0;
          x.finish = last ? finish : Finish::kPartial;
          x.ldc = t.ldc;
          const int64_t at = (t.m0 + m) * t.ldc + column;
          x.c = t.c_bf16 ? static_cast<void*>(static_cast<bf16*>(t.c) + at) : static_cast<void*>(static_cast<float*>(t.c) + at);
          kernels[i < large](x);
          if (last && finish == Finish::kPartial) finish_rows(t, t.m0 + m, rows, column, columns, x.partial, v * 16);
          m += rows;
        }
      }
      slot += micros;
      vector += v;
    }
  }
}

#if FATHOM_GEMM_FMA
void tile_f32(const GemmTile& t) { t.a.k_contiguous ? tile<FmaF32, true>(t) : tile<FmaF32, false>(t); }
#endif
#if FATHOM_GEMM_DOT
void tile_dot(const GemmTile& t) { t.a.k_contiguous ? tile<DotPairs, true>(t) : tile<DotPairs, false>(t); }
#endif

int64_t a_bytes(int64_t rows, int64_t super_k, bool k_contiguous) {
  const int64_t micros = (rows + kMaxRows - 1) / kMaxRows;
  return super_k / kBlockK * (k_contiguous ? rows * FmaF32::kRowWords : micros * kBlockK * kMicroLanes) * 4;
}
int64_t partial_bytes(int64_t rows, int64_t panels, int64_t k, int64_t super_k) {
  const int64_t micros = (rows + kMaxRows - 1) / kMaxRows;
  // One slot a micro-tile (blocks: one for each half of a panel where a micro-tile is narrower), or one for every sum of the
  // block.
  return (super_k >= k ? micros * 2 / kMinVectors : micros * panels * 2 / kMinVectors) * kMaxVectors * 16 * 4;
}
using Tile = void (*)(const GemmTile&);
constexpr GemmKernels vector_kernels(Tile plain, PanelFormat panels, Tile blocks) {
  return {plain, panels, kMaxRows, a_bytes, partial_bytes, panels == PanelFormat::kWords ? 2 : 1, blocks};
}
#endif

// ---- tiles: 32 x 32 of C in four tiles, two tiles of A, two of B ----

#if FATHOM_GEMM_TILES
void tile_tiles(const GemmTile& t) {
  Tiles tiles;
  const int64_t micros = (t.rows + kTileRows - 1) / kTileRows, k_end = round_up(t.k, 32);
  int64_t configured = 0;
  bf16* a_scratch = reinterpret_cast<bf16*>(t.a_scratch);
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_tile_rows(t, ks, ke);
    for (int64_t p = 0; p < t.panels; ++p) {
      const char* b = t.packed + (t.panel0 + p) * t.panel_bytes + ks / 2 * kPanelRow;
      if (!t.packed) {
        pack_panel(t.b, t.panel0 + p, t.n, ks, least(t.k, ke) - ks, PanelFormat::kPairs, t.b_scratch);
        b = t.b_scratch;
      }
      const int64_t column = (t.panel0 + p) * kPanel, columns = least(kPanel, t.n - column);
      const int64_t first_slot = t.super_k >= k_end ? 0 : p * micros;
      for (int64_t k0 = ks; k0 < ke; k0 += kBlockK)
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t m = i * kTileRows, rows = least(kTileRows, t.rows - m);
          if (configured != rows) configure_square(tiles, configured = rows);
          float* sums = t.partial + (first_slot + i) * kTileRows * kPanel;
          if (k0 > 0) {
            load_square(tiles, rows, sums);
          } else {
            zero_square(tiles, rows);
          }
          const bf16* a = a_scratch + ((k0 - ks) / kBlockK * t.rows + m) * kTileStride;
          const char* panel = b + (k0 - ks) / 2 * kPanelRow;
          const int64_t steps = (least(ke, k0 + kBlockK) - k0) / 32;
          multiply_square(tiles, a, panel, steps, rows);
          store_square(tiles, rows, sums);
          if (k0 + kBlockK >= k_end) finish_rows(t, t.m0 + m, rows, column, columns, sums, kPanel);
        }
    }
  }
  tiles.release();
}
int64_t tile_a_bytes(int64_t rows, int64_t super_k, bool) { return super_k / kBlockK * rows * kTileStride * 2; }
int64_t tile_partial_bytes(int64_t rows, int64_t panels, int64_t k, int64_t super_k) {
  const int64_t micros = (rows + kTileRows - 1) / kTileRows;
  return (super_k >= k ? micros : micros * panels) * kTileRows * kPanel * 4;
}
#endif

}  // namespace

#if FATHOM_GEMM_FMA
const GemmKernels* gemm_f32_kernels() {
  static constexpr GemmKernels kKernels = vector_kernels(tile_f32, PanelFormat::kF32, gemm_blocks_f32);
  return &kKernels;
}
const GemmKernels* gemm_widen_kernels() {
  static constexpr GemmKernels kKernels = vector_kernels(gemm_blocks_words, PanelFormat::kWords, gemm_blocks_widen);
  return &kKernels;
}
#if FATHOM_RUNG_LEVEL == 2
const GemmKernels* gemm_widen_vnni_kernels() {
  static constexpr GemmKernels kKernels = vector_kernels(gemm_blocks_vnni, PanelFormat::kWords, gemm_blocks_vnni);
  return &kKernels;
}
#endif
#endif
#if FATHOM_GEMM_DOT
const GemmKernels* gemm_dot_kernels() {
  static constexpr GemmKernels kKernels = vector_kernels(tile_dot, PanelFormat::kPairs, gemm_blocks_dot);
  return &kKernels;
}
#endif
#if FATHOM_GEMM_TILES
const GemmKernels* gemm_tile_kernels() {
  static constexpr GemmKernels kKernels = {tile_tiles, PanelFormat::kPairs, kTileRows, tile_a_bytes, tile_partial_bytes,
                                           1,          gemm_blocks_tiles};
  return &kKernels;
}
#endif
#if FATHOM_GEMM_FMA || FATHOM_GEMM_DOT
void gemm_pack_panel(const MatrixView& b, int64_t panel, int64_t n, int64_t k0, int64_t kc, PanelFormat format, void* out) {
  pack_panel(b, panel, n, k0, kc, format, out);
}
#endif

}  // namespace fathom::FATHOM_RUNG
