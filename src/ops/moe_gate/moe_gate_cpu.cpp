#include "ops/moe_gate/moe_gate_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {
constexpr float kLowest = -3.402823466e38f;  // the score of an expert that may not be chosen
}  // namespace

float gate_sum(const float* x, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return acc + load(x + i, g); });
}
float gate_dot(const float* x, const float* y, int64_t n) {
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return fma(load(x + i, g), load(y + i, g), acc); });
}

void add_bias(const float* s, const float* bias, int64_t n, float* choice) {
  for_lanes(n, [&](int64_t i, auto g)
                   FATHOM_LANES_INLINE { store(choice + i, bias ? load(s + i, g) + load(bias + i, g) : load(s + i, g), g); });
}

void group_scores(const float* x, int64_t groups, int64_t size, bool two, float* scores) {
  for (int64_t j = 0; j < groups; ++j) {
    float first = kLowest, second = kLowest;
    for (int64_t i = 0; i < size; ++i) {
      const float v = x[j * size + i], loser = v > first ? first : v;
      first = v > first ? v : first;
      second = loser > second ? loser : second;
    }
    scores[j] = two && size > 1 ? first + second : first;
  }
}

// k passes for the largest that is not yet taken. In a pass each lane keeps its first best and where it was; then the lanes
// are compared, the lower index winning a tie. Taken ones become -infinity, which nothing else is.
void take_largest(const float* x, int64_t n, int64_t k, float* room, int32_t* ids) {
  const float taken = -__builtin_inff();
  const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = n; i < padded; ++i) room[i] = taken;
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    const F32 v = load(x + i, g);
    store(room + i, select_less(set1(kLowest), v, v, set1(kLowest)), g);
  });
  float lane_number[16];
  for (int j = 0; j < 16; ++j) lane_number[j] = static_cast<float>(j);
  const F32 lanes = load(lane_number);
  for (int64_t pass = 0; pass < k; ++pass) {
    F32 best = set1(taken), where = zero();
    for (int64_t i = 0; i < padded; i += kLanes) {
      const F32 v = load(room + i);
      where = select_less(best, v, lanes + set1(static_cast<float>(i)), where);
      best = select_less(best, v, v, best);
    }
    const F32 top = set1(reduce_max(best));
    // Lanes below the top get an index beyond all; the least index is what is left.
    const F32 index = select_less(best, top, set1(-1e9f), zero() - where);
    const int64_t chosen = static_cast<int64_t>(-reduce_max(index));
    room[chosen] = taken;
    int64_t j = pass;  // insertion: ids stay ascending
    for (; j > 0 && ids[j - 1] > chosen; --j) ids[j] = ids[j - 1];
    ids[j] = static_cast<int32_t>(chosen);
  }
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
