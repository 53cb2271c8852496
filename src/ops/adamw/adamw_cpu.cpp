#include "ops/adamw/adamw_cpu.h"

#include "kernels/lanes.h"

namespace fathom::FATHOM_RUNG {
namespace {

template <class M, class V>
void update(const AdamWPiece& a, int64_t begin, int64_t end) {
  const float* grad = a.grad + begin;
  float* value = a.value + begin;
  M* m = static_cast<M*>(a.m) + begin;
  V* v = static_cast<V*>(a.v) + begin;
  const F32 scale = set1(a.grad_scale), keep = set1(a.keep), w1 = set1(a.one_minus_beta1), beta2 = set1(a.beta2),
            w2 = set1(a.one_minus_beta2);
  const F32 step = set1(a.step_size), v_scale = set1(a.v_scale), eps = set1(a.eps);
  for_lanes(end - begin, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    const F32 d = load(grad + i, g) * scale, old_m = load(m + i, g);
    const F32 new_m = fma(d - old_m, w1, old_m), new_v = fma(d * w2, d, load(v + i, g) * beta2);
    store(m + i, new_m, g);
    store(v + i, new_v, g);
    const F32 denominator = fma(sqrt(new_v), v_scale, eps);
    store(value + i, fnma(step, new_m / denominator, load(value + i, g) * keep), g);
  });
}

// 16 chains of double, then one tree. The squares of floats are exact in double.
template <class X>
FATHOM_INLINE double sum_of_squares(const X* x, int64_t n) {
  double acc[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; ++j) {
      const double d = to_float(x[i + j]);
      acc[j] += d * d;
    }
  for (int j = 0; i < n; ++i, ++j) {
    const double d = to_float(x[i]);
    acc[j] += d * d;
  }
  for (int width = 8; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) acc[j] += acc[j + width];
  return acc[0];
}
// x 0 is 0 where x is finite and NaN elsewhere.
template <class X>
FATHOM_INLINE bool all_finite(const X* x, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return fma(load(x + i, g), zero(), acc); }) == 0.f;
}

}  // namespace

void adamw_piece(const AdamWPiece& a, int64_t begin, int64_t end) {
  if (a.m_bf16) return a.v_bf16 ? update<bf16, bf16>(a, begin, end) : update<bf16, float>(a, begin, end);
  return a.v_bf16 ? update<float, bf16>(a, begin, end) : update<float, float>(a, begin, end);
}
double sum_of_squares_piece(const float* x, int64_t n) { return sum_of_squares(x, n); }
double sum_of_squares_piece_bf16(const bf16* x, int64_t n) { return sum_of_squares(x, n); }
bool all_finite_piece(const float* x, int64_t n) { return all_finite(x, n); }
bool all_finite_piece_bf16(const bf16* x, int64_t n) { return all_finite(x, n); }

}  // namespace fathom::FATHOM_RUNG
