#include "ops/moe_gate/moe_gate_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {

float gate_sum(const float* x, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return acc + load(x + i, g); });
}
float gate_dot(const float* x, const float* y, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return fma(load(x + i, g), load(y + i, g), acc); });
}

void gate_scores(const float* logits, int64_t n, bool softmax, float* s) {
  if (!softmax) {
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(s + i, sigmoid(load(logits + i, g)), g); });
    return;
  }
  float maximum = logits[0];
  for (int64_t i = 1; i < n; ++i) maximum = logits[i] > maximum ? logits[i] : maximum;
  const F32 m = set1(maximum);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(s + i, exp(load(logits + i, g) - m), g); });
  const F32 total = set1(gate_sum(s, n));
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(s + i, load(s + i, g) / total, g); });
}

void add_share_gradient(const float* s, const float* a, int64_t n, bool softmax, float total, float dot, float scale,
                        float* d) {
  const F32 t = set1(total), c = set1(dot), k = set1(scale), one = set1(1.f);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    const F32 v = load(s + i, g);
    F32 gradient = (v / t) * (load(a + i, g) - c);
    if (!softmax) gradient = gradient * (one - v);
    store(d + i, fma(gradient, k, load(d + i, g)), g);
  });
}

void softmax_gradient(const float* s, const float* ds, int64_t n, float dot, float* d) {
  const F32 c = set1(dot);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(d + i, load(s + i, g) * (load(ds + i, g) - c), g); });
}

}  // namespace fathom::FATHOM_RUNG
