#include "ops/sampling/sampling_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {

void sampling_weights(const float* x, int64_t n, float maximum, float inverse_temperature, int64_t* weights) {
  const F32 m = set1(maximum), k = set1(inverse_temperature);
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    float t[16];
    store(t, exp((load(x + i, g) - m) * k));
    const int size = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    for (int j = 0; j < size; ++j) weights[i + j] = static_cast<int64_t>(t[j] * 0x1p40f);
  });
}
double sampling_log(double x) { return log(x); }

}  // namespace fathom::FATHOM_RUNG
