// One instruction each, for the tests of the emulators.
#include "backend/cpu/dot_bf16.h"
#include "backend/cpu/tiles.h"

namespace fathom::FATHOM_RUNG {

void dot2_for_test(const uint32_t* a, const uint32_t* b, float* sums) {
  store(sums, dot2(load_pairs(a), load_pairs(b), load(sums)));
}

void tile_dot_for_test(const uint32_t* a, const uint32_t* b, float* sums) {
  Tiles tiles;
  const uint8_t rows[8] = {16, 16, 16};
  tiles.configure(rows);
  tiles.load<0>(sums, 64);
  tiles.load<1>(a, 64);
  tiles.load<2>(b, 64);
  tiles.dot_bf16<0, 1, 2>();
  tiles.store<0>(sums, 64);
  tiles.release();
}

void tile_dot_int8_for_test(const uint32_t* a, const uint32_t* b, int quads, uint32_t* sums) {
  Tiles tiles;
  const uint8_t rows[8] = {16, 16, static_cast<uint8_t>(quads)}, bytes[8] = {64, static_cast<uint8_t>(4 * quads), 64};
  tiles.configure(rows, bytes);
  tiles.load<0>(sums, 64);
  tiles.load<1>(a, 64);
  tiles.load<2>(b, 64);
  tiles.dot_int8<0, 1, 2>();
  tiles.store<0>(sums, 64);
  tiles.release();
}

}  // namespace fathom::FATHOM_RUNG
