#include "ops/swiglu/swiglu_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
void swiglu_rows(const SwigluRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const AnyRow gate = row_at(a.gate_up, a.gate_up_bf16, r * a.gate_up_stride),
                 act = row_at(a.act, a.act_bf16, r * a.act_stride);
    const F32 scale = set1(a.row_scale ? a.row_scale[r] : 1.f);
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 z = load(gate, i, g);
      store(act, i, (z * sigmoid(z)) * load(gate, n + i, g) * scale, g);
    });
  }
}

// With q = sigmoid(z), h = z q: dup = s da h, dgate = s da up q (1 + z (1 - q)), dscale = sum da h up.
void swiglu_gradient_rows(const SwigluRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const AnyRow dact = row_at(a.dact, a.dact_bf16, r * a.dact_stride),
                 gate = row_at(a.gate_up, a.gate_up_bf16, r * a.gate_up_stride);
    const AnyRow dgate = row_at(a.dgate_up, a.dgate_up_bf16, r * a.dgate_up_stride),
                 act = row_at(a.act, a.act_bf16, r * a.act_stride);
    const F32 scale = set1(a.row_scale ? a.row_scale[r] : 1.f), one = set1(1.f);
    F32 dscale = zero();
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 z = load(gate, i, g), u = load(gate, n + i, g), da = load(dact, i, g);
      const F32 q = sigmoid(z), h = z * q, hu = h * u, sda = da * scale;
      if (act.p) store(act, i, hu * scale, g);
      store(dgate, n + i, sda * h, g);
      store(dgate, i, (sda * u) * (q * fma(z, one - q, one)), g);
      dscale = fma(da, hu, dscale);
    });
    if (a.drow_scale) a.drow_scale[r] = reduce_add(dscale);
  }
}

}  // namespace fathom::FATHOM_RUNG
