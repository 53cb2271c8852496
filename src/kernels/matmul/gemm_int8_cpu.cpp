// The GEMM over rows of int8: the vectors of each rung (gemm_int8_tile.h), and AMX tiles, which give the same integers.
#include "backend/cpu/tiles.h"
#include "kernels/matmul/gemm_int8_tile.h"
#if FATHOM_RUNG_LEVEL == 1
#include "kernels/matmul/gemm_int8_wide.h"
#endif
#include "kernels/matmul/tile_square.h"

#if FATHOM_RUNG_LEVEL == 4
namespace fathom::avx512bf16 {
const GemmKernels* gemm_int8_kernels();
}
#endif
namespace fathom::FATHOM_RUNG {
namespace {

#if FATHOM_GEMM_TILES
// As configure_square(), with the k of a group in a step: 64 where the scale is a column's, 32 where it is the group's.
void configure_int8(Tiles& tiles, int64_t rows, int64_t group) {
  const uint8_t upper = static_cast<uint8_t>(least(16, rows)), lower = static_cast<uint8_t>(rows - upper);
  const uint8_t k = static_cast<uint8_t>(group), quads = static_cast<uint8_t>(group / 4);
  const uint8_t shape[8] = {upper, upper, lower, lower, upper, lower, quads, quads}, bytes[8] = {64, 64, 64, 64, k, k, 64, 64};
  tiles.configure(shape, bytes);
}
void multiply_int8(Tiles& tiles, const char* a, const char* b, int64_t rows) {
  tiles.load<6>(b, kPanelRow);
  tiles.load<7>(b + 64, kPanelRow);
  tiles.load<4>(a, kInt8ChunkBytes);
  tiles.dot_int8<0, 4, 6>();
  tiles.dot_int8<1, 4, 7>();
  if (has_lower(rows)) {
    tiles.load<5>(a + 16 * kInt8ChunkBytes, kInt8ChunkBytes);
    tiles.dot_int8<2, 5, 6>();
    tiles.dot_int8<3, 5, 7>();
  }
}

// A group's codes as bytes: where they stand, or widened into `out`.
template <class F>
const char* group_bytes(const char* codes, char* out) {
  if constexpr (F::kQuads == 1) return codes;
  for (int64_t step = 0; step < F::kSteps; ++step)
    for (int quad = 0; quad < F::kQuads; ++quad)
      for (int half = 0; half < 2; ++half)
        store_bytes(out + (step * F::kQuads + quad) * kPanelRow + half * 64, F::codes(codes, step, quad, half));
  return out;
}

// Sums of 32 rows by a panel: a group's chain of integers goes scaled into them.
template <class F>
void add_group(const float* chain, const char* a, int64_t sum_at, const char* factors, const char* header, int64_t rows,
               bool resume, float* sums) {
  for (int64_t half = 0; half < 2; ++half) {
    F32 scale = set1(1);
    if constexpr (!F::kColumnScale) scale = F::scale(factors, header, half);
    for (int64_t r = 0; r < rows; ++r) {
      const char* a_sum = a + r * kInt8ChunkBytes + sum_at;
      float* sum = sums + r * kPanel + 16 * half;
      F32 x = fma(to_f32(load_i32(chain + r * kPanel + 16 * half) + F::start(load_word(a_sum))), scale * set1(row_scale(a_sum)),
                  resume ? load(sum) : zero());
      if constexpr (F::kLayout.has_min) x = fma(set1(scaled_sum(a_sum)), F::min(factors, header, half), x);
      store(sum, x);
    }
  }
}

template <class F>
void tiles_int8(const GemmTile& t) {
  constexpr int64_t kGroup = F::kLayout.group, kGroupBytes = int8_group_bytes(F::kFormat), kRows = 32;
  const int64_t micros = (t.rows + kRows - 1) / kRows, k_end = round_up(t.k, kGroup),
                super_k = round_up(t.super_k, kInt8ChunkK);
  Tiles tiles;
  alignas(64) float chain[kRows * kPanel];
  int64_t configured = 0;
  for (int64_t ks = 0; ks < k_end; ks += super_k) {
    const int64_t ke = least(k_end, ks + super_k);
    pack_int8_rows(t, ks, ke);
    for (int64_t panel = 0; panel < t.panels; ++panel) {
      const int64_t column = (t.panel0 + panel) * kPanel;
      const char* head = t.packed + (t.panel0 + panel) * t.panel_bytes;
      float* slots = t.partial + (super_k >= k_end ? 0 : panel * micros * kRows * kPanel);
      for (int64_t k0 = ks; k0 < ke; k0 += kInt8ChunkK) {
        const int64_t k1 = least(ke, k0 + kInt8ChunkK), groups = (k1 - k0) / kGroup;
        const char* group = head + int8_head_bytes(F::kFormat, t.k) + k0 / kGroup * kGroupBytes;
        const char* factors = head + F::kLayout.head;
        const char* bytes[kInt8ChunkK / kGroup];
        for (int64_t g = 0; g < groups; ++g)
          bytes[g] = group_bytes<F>(group + g * kGroupBytes + F::kLayout.header, t.b_scratch + g * kGroup * kPanel);
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t m = i * kRows, rows = least(kRows, t.rows - m);
          if (configured != rows) configure_int8(tiles, configured = rows, kGroup);
          const char* a = t.a_scratch + ((k0 - ks) / kInt8ChunkK * t.rows + m) * kInt8ChunkBytes;
          float* sums = slots + i * kRows * kPanel;
          for (int64_t g = 0; g < groups; ++g) {
            zero_square(tiles, rows);
            multiply_int8(tiles, a + g * kGroup, bytes[g], rows);
            store_square(tiles, rows, chain);
            add_group<F>(chain, a, kInt8ChunkK + g * kGroup / 32 * 4, factors + (k0 + g * kGroup) / 256 * F::kLayout.factors,
                         group + g * kGroupBytes, rows, k0 > 0 || g > 0, sums);
          }
          if (k1 < k_end) continue;
          scale_columns<F>(rows, 2, head, 0, sums);
          finish_rows(t, t.m0 + m, rows, column, least(kPanel, t.n - column), sums, kPanel);
        }
      }
    }
  }
  tiles.release();
}

void gemm_int8_tiles(const GemmTile& t) {
#if FATHOM_RUNG_LEVEL == 4
  const auto vectors = avx512bf16::gemm_int8_kernels()->tile_blocks;
#else
  const auto vectors = gemm_int8;
#endif
  with_int8_format(t.weight_format, [&](auto format) {
    using F = decltype(format);
    // Vectors give the same sums: a step of a tile would have to be cut in two for halves, and few rows leave most of a tile
    // empty.
    if constexpr (F::kHalves)
      vectors(t);
    else
      FATHOM_RUNG_LEVEL == 4 && t.rows <= kStreamRows ? vectors(t) : tiles_int8<F>(t);
  });
}
#endif

}  // namespace

#if FATHOM_RUNG_LEVEL == 1
const GemmKernels* gemm_int8_kernels() { return &kWideKernels; }
#elif FATHOM_RUNG_LEVEL < 4
const GemmKernels* gemm_int8_kernels() { return &kInt8Kernels; }
#endif
#if FATHOM_GEMM_TILES
const GemmKernels* gemm_int8_tile_kernels() {
  static constexpr GemmKernels kKernels = {nullptr, PanelFormat::kPairs, kTileRows, int8_a_bytes, int8_partial_bytes,
                                           4,       gemm_int8_tiles};
  return &kKernels;
}
#endif

}  // namespace fathom::FATHOM_RUNG
