#include "ops/rms_norm/rms_norm_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {
void rms_norm_rows(const RmsNormRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t t = begin; t < end; ++t) {
    const AnyRow x = row_at(a.x, a.x_bf16, t * a.x_stride), y = row_at(a.y, a.y_bf16, t * a.y_stride);
    float rstd;
    if (a.given_rstd) {
      rstd = a.given_rstd[t];
    } else {
      float squares;
      if (a.residual) {
        float* r = a.residual + t * a.x_stride;
        const AnyRow delta = row_at(a.delta, a.delta_bf16, t * a.delta_stride);
        squares = sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
          const F32 v = load(r + i, g) + load(delta, i, g);
          store(r + i, v, g);
          return fma(v, v, acc);
        });
      } else {
        squares = sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
          const F32 v = load(x, i, g);
          return fma(v, v, acc);
        });
      }
      rstd = 1.f / __builtin_sqrtf(squares / static_cast<float>(n) + a.eps);
      if (a.rstd) a.rstd[t] = rstd;
    }
    const F32 r = set1(rstd);
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(y, i, (load(x, i, g) * r) * load(a.gain + i, g), g); });
  }
}

// With h = x rstd: dx = rstd (g dy - h mean(g dy h)) = rstd g dy - x (rstd^3 / n) sum(g dy x); dgain = sum over rows dy h.
void rms_norm_gradient_rows(const RmsNormGradientRows& a, int64_t begin, int64_t end, float* dgain) {
  const int64_t n = a.width;
  const float* gain = a.gain;
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { store(dgain + i, zero(), g); });
  for (int64_t t = begin; t < end; ++t) {
    const AnyRow dy = row_at(a.dy, a.dy_bf16, t * a.dy_stride), x = row_at(a.x, a.x_bf16, t * a.x_stride),
                 dx = row_at(a.dx, a.dx_bf16, t * a.dx_stride);
    const float dot = sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
      return fma(load(dy, i, g) * load(gain + i, g), load(x, i, g), acc);
    });
    const float rstd = a.rstd[t];
    const F32 r = set1(rstd), k = set1(rstd * rstd * rstd * (dot / static_cast<float>(n)));
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 d = load(dy, i, g), v = load(x, i, g);
      store(dgain + i, fma(d, v * r, load(dgain + i, g)), g);
      F32 out = fnma(v, k, (d * load(gain + i, g)) * r);
      if (a.accumulate) out = load(dx, i, g) + out;
      store(dx, i, out, g);
    });
  }
}

void add_parts(const float* parts, int64_t count, int64_t width, float* y) {
  for_lanes(width, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    F32 sum = zero();
    for (int64_t c = 0; c < count; ++c) sum = sum + load(parts + c * width + i, g);
    store(y + i, load(y + i, g) + sum, g);
  });
}

}  // namespace fathom::FATHOM_RUNG
