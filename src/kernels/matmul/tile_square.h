// 32 x 32 of C in four tiles (C00 C01 C10 C11 = 0..3), two tiles of A (4, 5) and two of B (6, 7): what the tile kernels of
// every weight format do. `rows` of the 32 are there; with 16 or fewer the lower half is left out. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/tiles.h"
#include "kernels/matmul/pack_a.h"

namespace fathom::FATHOM_RUNG {

FATHOM_INLINE bool has_lower(int64_t rows) { return rows > 16; }

FATHOM_INLINE void configure_square(Tiles& tiles, int64_t rows) {
  const uint8_t upper = static_cast<uint8_t>(least(16, rows)), lower = static_cast<uint8_t>(rows - upper);
  const uint8_t shape[8] = {upper, upper, lower, lower, upper, lower, 16, 16};
  tiles.configure(shape);
}
FATHOM_INLINE void zero_square(Tiles& tiles, int64_t rows) {
  tiles.zero<0>();
  tiles.zero<1>();
  if (has_lower(rows)) tiles.zero<2>(), tiles.zero<3>();
}
// sums: [32][32] floats.
FATHOM_INLINE void load_square(Tiles& tiles, int64_t rows, const float* sums) {
  tiles.load<0>(sums, kPanelRow);
  tiles.load<1>(sums + 16, kPanelRow);
  if (has_lower(rows)) tiles.load<2>(sums + 16 * kPanel, kPanelRow), tiles.load<3>(sums + 16 * kPanel + 16, kPanelRow);
}
FATHOM_INLINE void store_square(Tiles& tiles, int64_t rows, float* sums) {
  tiles.store<0>(sums, kPanelRow);
  tiles.store<1>(sums + 16, kPanelRow);
  if (has_lower(rows)) tiles.store<2>(sums + 16 * kPanel, kPanelRow), tiles.store<3>(sums + 16 * kPanel + 16, kPanelRow);
}
// Adds `steps` products of 32 k. a: rows of bf16, kTileStride apart; b: pairs, as a panel holds them.
FATHOM_INLINE void multiply_square(Tiles& tiles, const bf16* a, const char* b, int64_t steps, int64_t rows) {
  for (int64_t s = 0; s < steps; ++s, a += 32, b += 16 * kPanelRow) {
    tiles.load<6>(b, kPanelRow);
    tiles.load<7>(b + 64, kPanelRow);
    tiles.load<4>(a, kTileStride * 2);
    tiles.dot_bf16<0, 4, 6>();
    tiles.dot_bf16<1, 4, 7>();
    if (has_lower(rows)) {
      tiles.load<5>(a + 16 * kTileStride, kTileStride * 2);
      tiles.dot_bf16<2, 5, 6>();
      tiles.dot_bf16<3, 5, 7>();
    }
  }
}

}  // namespace fathom::FATHOM_RUNG
