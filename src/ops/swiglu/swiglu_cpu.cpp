#include "ops/swiglu/swiglu_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {

template <class G, class A>
void forward(const SwigluRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const G* gate = static_cast<const G*>(a.gate_up) + r * a.gate_up_stride;
    const G* up = gate + n;
    A* act = static_cast<A*>(a.act) + r * a.act_stride;
    const F32 scale = set1(a.row_scale ? a.row_scale[r] : 1.f);
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 z = load(gate + i, g);
      store(act + i, (z * sigmoid(z)) * load(up + i, g) * scale, g);
    });
  }
}

// With q = sigmoid(z), h = z q: dup = s da h, dgate = s da up q (1 + z (1 - q)), dscale = sum da h up.
template <class D, class G, class DG, class A, bool kAct>
void backward(const SwigluRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const D* dact = static_cast<const D*>(a.dact) + r * a.dact_stride;
    const G* gate = static_cast<const G*>(a.gate_up) + r * a.gate_up_stride;
    const G* up = gate + n;
    DG* dgate = static_cast<DG*>(a.dgate_up) + r * a.dgate_up_stride;
    DG* dup = dgate + n;
    A* act = kAct ? static_cast<A*>(a.act) + r * a.act_stride : nullptr;
    const F32 scale = set1(a.row_scale ? a.row_scale[r] : 1.f), one = set1(1.f);
    const float dscale = sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
      const F32 z = load(gate + i, g), u = load(up + i, g), da = load(dact + i, g);
      const F32 q = sigmoid(z), h = z * q, hu = h * u, sda = da * scale;
      if constexpr (kAct) store(act + i, hu * scale, g);
      store(dup + i, sda * h, g);
      store(dgate + i, (sda * u) * (q * fma(z, one - q, one)), g);
      return fma(da, hu, acc);
    });
    if (a.drow_scale) a.drow_scale[r] = dscale;
  }
}

template <class D, class G, class DG>
FATHOM_INLINE void backward(const SwigluRows& a, int64_t begin, int64_t end) {
  if (!a.act) return backward<D, G, DG, float, false>(a, begin, end);
  return a.act_bf16 ? backward<D, G, DG, bf16, true>(a, begin, end) : backward<D, G, DG, float, true>(a, begin, end);
}
template <class D, class G>
FATHOM_INLINE void backward(const SwigluRows& a, int64_t begin, int64_t end) {
  return a.dgate_up_bf16 ? backward<D, G, bf16>(a, begin, end) : backward<D, G, float>(a, begin, end);
}
template <class D>
FATHOM_INLINE void backward(const SwigluRows& a, int64_t begin, int64_t end) {
  return a.gate_up_bf16 ? backward<D, bf16>(a, begin, end) : backward<D, float>(a, begin, end);
}

}  // namespace

void swiglu_rows(const SwigluRows& a, int64_t begin, int64_t end) {
  if (a.gate_up_bf16) return a.act_bf16 ? forward<bf16, bf16>(a, begin, end) : forward<bf16, float>(a, begin, end);
  return a.act_bf16 ? forward<float, bf16>(a, begin, end) : forward<float, float>(a, begin, end);
}
void swiglu_gradient_rows(const SwigluRows& a, int64_t begin, int64_t end) {
  return a.dact_bf16 ? backward<bf16>(a, begin, end) : backward<float>(a, begin, end);
}

}  // namespace fathom::FATHOM_RUNG
