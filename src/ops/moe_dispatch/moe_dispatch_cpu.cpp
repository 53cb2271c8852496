#include "ops/moe_dispatch/moe_dispatch_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {
namespace {

template <class R, class Y>
void combine(const CombineRows& a, int64_t begin, int64_t end) {
  const R* routed = static_cast<const R*>(a.routed);
  for (int64_t t = begin; t < end; ++t) {
    const int32_t* position = a.position + t * a.top_k;
    Y* y = static_cast<Y*>(a.y) + t * a.y_stride;
    for_lanes(a.width, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      F32 sum = load(routed + position[0] * a.routed_stride + i, g);
      for (int64_t k = 1; k < a.top_k; ++k) sum = sum + load(routed + position[k] * a.routed_stride + i, g);
      if (a.accumulate) sum = load(y + i, g) + sum;
      store(y + i, sum, g);
    });
  }
}

}  // namespace

void combine_rows(const CombineRows& a, int64_t begin, int64_t end) {
  if (a.routed_bf16) return a.y_bf16 ? combine<bf16, bf16>(a, begin, end) : combine<bf16, float>(a, begin, end);
  return a.y_bf16 ? combine<float, bf16>(a, begin, end) : combine<float, float>(a, begin, end);
}

}  // namespace fathom::FATHOM_RUNG
