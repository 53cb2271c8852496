#include "ops/sampling/sampling_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {

int64_t sampling_weights(const float* x, int64_t n, float maximum, float inverse_temperature, int64_t* weights) {
  const F32 m = set1(maximum), k = set1(inverse_temperature), one = set1(0x1p40f);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    float t[16];
    int64_t w[16];
    store(t, exp((load(x + i, g) - m) * k) * one);
    for (int j = 0; j < 16; ++j) w[j] = static_cast<int64_t>(t[j]);
    const int64_t left = n - i;
    __builtin_memcpy(weights + i, w, (left < kLanes ? left : kLanes) * sizeof(int64_t));
  });
  return sum_weights(weights, n);
}

int64_t sum_weights(const int64_t* weights, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += weights[i];
  return sum;
}

double sampling_log(double x) { return log(x); }

}  // namespace fathom::FATHOM_RUNG
