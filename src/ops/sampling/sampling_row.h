// What is drawn from, and what came of it.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/sampling/sampling_cpu.h"

namespace fathom {

struct SamplingRow {
  const float* x;  // [n] logits, adjusted
  int64_t n;
  float maximum, inverse_temperature;
};
struct Drawn {
  int32_t id;
  int64_t total;  // weight of all that were kept
};

// The sum of sums [ceil(n / kSamplingBlock)], of the weights of n tokens by blocks.
inline int64_t total_of(const int64_t* sums, int64_t n) {
  int64_t total = 0;
  for (int64_t b = 0; b * kSamplingBlock < n; ++b) total += sums[b];
  return total;
}
// What top p asks of a sum of weights; at least one token.
inline int64_t nucleus_goal(float top_p, int64_t whole) {
  const auto goal = static_cast<int64_t>(std::ceil(top_p * static_cast<double>(whole)));
  return goal < 1 ? 1 : goal;
}
// uniform x total, rounded down: exact in 128 bits. A cumulated weight exceeds it at a token that has weight.
inline int64_t draw_target(float uniform, int64_t total) {
  return static_cast<int64_t>(
      (static_cast<unsigned __int128>(total) * static_cast<uint64_t>(static_cast<double>(uniform) * 0x1p53)) >> 53);
}
// Scratch of a thread, kept: fresh pages for a large vocabulary would cost more than the draw.
template <class T>
T* at_least(std::vector<T>& room, int64_t n) {
  if (static_cast<int64_t>(room.size()) < n) room.resize(n);
  return room.data();
}

}  // namespace fathom
