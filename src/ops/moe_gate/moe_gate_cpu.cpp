#include "ops/moe_gate/moe_gate_cpu.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {
constexpr int64_t kMaxSorted = 16;
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

// k passes, each for the best of what comes after the last chosen in the order (value falling, index rising). In a pass each
// lane keeps its first best and where it was; then the lanes are compared. Nothing branches on the values.
void take_largest(const float* x, int64_t n, int64_t k, float* room, int32_t* ids) {
  const F32 none = set1(-__builtin_inff()), lowest = set1(kLowest);
  const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = padded - kLanes; i < padded; ++i) room[i] = -__builtin_inff();
  for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
    const F32 v = load(x + i, g);
    store(room + i, select_less(lowest, v, v, lowest), g);
  });
  float lane_number[16];
  for (int j = 0; j < 16; ++j) lane_number[j] = static_cast<float>(j);
  const F32 lanes = load(lane_number);
  F32 last = set1(__builtin_inff()), last_index = set1(-1.f);
  for (int64_t pass = 0; pass < k; ++pass) {
    F32 best = none, where = zero(), index = lanes;
    for (int64_t i = 0; i < padded; i += kLanes) {
      const F32 x16 = load(room + i);
      // Before the last: larger, or equal and not behind it.
      const F32 v = select_less(x16, last, x16, select_less(last, x16, none, select_less(last_index, index, x16, none)));
      where = select_less(best, v, index, where);
      best = select_less(best, v, v, best);
      index = index + set1(16.f);
    }
    last = set1(reduce_max(best));
    // Lanes below the top get an index beyond all; the least index is what is left.
    const float chosen = -reduce_max(select_less(best, last, set1(-1e9f), zero() - where));
    last_index = set1(chosen);
    ids[pass] = static_cast<int32_t>(chosen);
  }
  if (k > kMaxSorted) {
    for (int64_t j = 1; j < k; ++j) {
      const int32_t id = ids[j];
      int64_t to = j;
      for (; to > 0 && ids[to - 1] > id; --to) ids[to] = ids[to - 1];
      ids[to] = id;
    }
    return;
  }
  int32_t by_value[kMaxSorted];  // ascending: an id's place is the number of smaller ones
  for (int64_t j = 0; j < k; ++j) by_value[j] = ids[j];
  for (int64_t j = 0; j < k; ++j) {
    int64_t place = 0;
    for (int64_t i = 0; i < k; ++i) place += by_value[i] < by_value[j];
    ids[place] = by_value[j];
  }
}

void mask_groups(const int32_t* kept, int64_t count, int64_t groups, int64_t size, float* choice) {
  for (int64_t g = 0; g < groups; ++g) {
    int32_t is_kept = 0;
    for (int64_t j = 0; j < count; ++j) is_kept |= kept[j] == g;
    for (int64_t i = g * size; i < (g + 1) * size; ++i) choice[i] = is_kept ? choice[i] : kLowest;
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
