#include "ops/rms_norm/rms_norm_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {
namespace {

template <class X>
FATHOM_INLINE float sum_squares(const X* x, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
    const F32 v = load(x + i, g);
    return fma(v, v, acc);
  });
}
template <class D>
FATHOM_INLINE float add_and_sum_squares(const D* delta, float* x, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
    const F32 v = load(x + i, g) + load(delta + i, g);
    store(x + i, v, g);
    return fma(v, v, acc);
  });
}
template <class X, class Y>
FATHOM_INLINE void scale_row(const X* x, float rstd, const float* gain, Y* y, int64_t n) {
  const F32 r = set1(rstd);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(y + i, (load(x + i, g) * r) * load(gain + i, g), g); });
}

template <class X, class Y>
void forward(const RmsNormRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t t = begin; t < end; ++t) {
    const X* x = static_cast<const X*>(a.x) + t * a.x_stride;
    float rstd;
    if (a.given_rstd) {
      rstd = a.given_rstd[t];
    } else {
      float squares;
      if (a.residual) {
        float* r = a.residual + t * a.x_stride;
        squares = a.delta_bf16 ? add_and_sum_squares(static_cast<const bf16*>(a.delta) + t * a.delta_stride, r, n)
                               : add_and_sum_squares(static_cast<const float*>(a.delta) + t * a.delta_stride, r, n);
      } else {
        squares = sum_squares(x, n);
      }
      rstd = 1.f / __builtin_sqrtf(squares / static_cast<float>(n) + a.eps);
      if (a.rstd) a.rstd[t] = rstd;
    }
    scale_row(x, rstd, a.gain, static_cast<Y*>(a.y) + t * a.y_stride, n);
  }
}

// With h = x rstd: dx = rstd (g dy - h mean(g dy h)) = rstd g dy - x (rstd^3 / n) sum(g dy x); dgain = sum over rows dy h.
template <class DY, class X, class DX, bool kAccumulate>
void backward(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  const int64_t n = a.width;
  const float* gain = a.gain;
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(dgain + i, zero(), g); });
  for (int64_t t = begin; t < end; ++t) {
    const DY* dy = static_cast<const DY*>(a.dy) + t * a.dy_stride;
    const X* x = static_cast<const X*>(a.x) + t * a.x_stride;
    DX* dx = static_cast<DX*>(a.dx) + t * a.dx_stride;
    const float dot = sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
      return fma(load(dy + i, g) * load(gain + i, g), load(x + i, g), acc);
    });
    const float rstd = a.rstd[t];
    const F32 r = set1(rstd), k = set1(rstd * rstd * rstd * (dot / static_cast<float>(n)));
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 d = load(dy + i, g), v = load(x + i, g);
      store(dgain + i, fma(d, v * r, load(dgain + i, g)), g);
      F32 out = fnma(v, k, (d * load(gain + i, g)) * r);
      if constexpr (kAccumulate) out = load(dx + i, g) + out;
      store(dx + i, out, g);
    });
  }
}

template <class DY, class X, class DX>
FATHOM_INLINE void backward(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  return a.accumulate ? backward<DY, X, DX, true>(a, begin, end, dgain) : backward<DY, X, DX, false>(a, begin, end, dgain);
}
template <class DY, class X>
FATHOM_INLINE void backward(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  return a.dx_bf16 ? backward<DY, X, bf16>(a, begin, end, dgain) : backward<DY, X, float>(a, begin, end, dgain);
}
template <class DY>
FATHOM_INLINE void backward(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  return a.x_bf16 ? backward<DY, bf16>(a, begin, end, dgain) : backward<DY, float>(a, begin, end, dgain);
}

}  // namespace

void rms_norm_rows(const RmsNormRows& a, int64_t begin, int64_t end) {
  if (a.x_bf16) return a.y_bf16 ? forward<bf16, bf16>(a, begin, end) : forward<bf16, float>(a, begin, end);
  return a.y_bf16 ? forward<float, bf16>(a, begin, end) : forward<float, float>(a, begin, end);
}
void rms_norm_gradient_rows(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  return a.dy_bf16 ? backward<bf16>(a, begin, end, dgain) : backward<float>(a, begin, end, dgain);
}
void add_parts(const float* parts, int64_t count, int64_t width, float* y) {
  for_lanes(width, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    F32 sum = zero();
    for (int64_t c = 0; c < count; ++c) sum = sum + load(parts + c * width + i, g);
    store(y + i, load(y + i, g) + sum, g);
  });
}

}  // namespace fathom::FATHOM_RUNG
