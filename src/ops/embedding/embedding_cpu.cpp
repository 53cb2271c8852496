#include "ops/embedding/embedding_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {

void widen_row(const bf16* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(y + i, load(x + i, g), g); });
}
void add_row(const float* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(y + i, load(y + i, g) + load(x + i, g), g); });
}
void add_row_bf16(const bf16* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(y + i, load(y + i, g) + load(x + i, g), g); });
}

}  // namespace fathom::FATHOM_RUNG
