#include "ops/cross_entropy/cross_entropy_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {

FATHOM_INLINE void put(float* d, float x) { *d = x; }
FATHOM_INLINE void put(bf16* d, float x) { store_n(d, set1(x), 1); }

template <class D>
FATHOM_INLINE void gradient_row(const float* x, int64_t n, int64_t valid, int64_t target, float c, float lse, D* d) {
  const F32 l = set1(lse), minus_c = set1(-c);
  float p = 0;
  if (target >= 0) {
    float t[16];
    store(t, exp(set1(x[target]) - l));
    p = t[0];
    for_lanes(valid, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(d + i, minus_c * exp(load(x + i, g) - l), g); });
    put(d + target, c * (1.f - p));
  }
  const int64_t begin = target >= 0 ? valid : 0;
  for_lanes(n - begin, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(d + begin + i, zero(), g); });
}

}  // namespace

void log_prob_gradient_row(const float* x, int64_t n, int64_t valid, int64_t target, float c, float lse, float* d) {
  gradient_row(x, n, valid, target, c, lse, d);
}
void log_prob_gradient_row_bf16(const float* x, int64_t n, int64_t valid, int64_t target, float c, float lse, bf16* d) {
  gradient_row(x, n, valid, target, c, lse, d);
}

}  // namespace fathom::FATHOM_RUNG
