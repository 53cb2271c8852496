#include "ops/moe_dispatch/moe_dispatch_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {
void combine_rows(const CombineRows& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const int32_t* position = a.position + t * a.top_k;
    const AnyRow routed = row_at(a.routed, a.routed_bf16, 0), y = row_at(a.y, a.y_bf16, t * a.y_stride);
    for_lanes(a.width, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      F32 sum = load(routed, position[0] * a.routed_stride + i, g);
      for (int64_t k = 1; k < a.top_k; ++k) sum = sum + load(routed, position[k] * a.routed_stride + i, g);
      if (a.accumulate) sum = load(y, i, g) + sum;
      store(y, i, sum, g);
    });
  }
}

}  // namespace fathom::FATHOM_RUNG
