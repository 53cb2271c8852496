#include "ops/sampling/typical.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace fathom {
namespace {

constexpr int kShift = 20;  // a bucket for each exponent and three bits of the fraction
int bucket(float distance) { return static_cast<int>(std::bit_cast<uint32_t>(distance) >> kShift); }

}  // namespace

void keep_typical(int64_t* weights, const float* scaled, int64_t n, float typical_p) {
  double moment = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i)
    if (weights[i] > 0) {
      total += weights[i];
      moment += static_cast<double>(weights[i]) * static_cast<double>(scaled[i]);
    }
  const double expectation = moment / static_cast<double>(total);
  const auto distance = [&](int64_t i) { return static_cast<float>(std::fabs(static_cast<double>(scaled[i]) - expectation)); };
  const auto goal =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(static_cast<double>(typical_p) * static_cast<double>(total))));
  static thread_local std::vector<int64_t> sums;
  sums.assign(size_t{1} << (32 - kShift), 0);
  for (int64_t i = 0; i < n; ++i)
    if (weights[i] > 0) sums[bucket(distance(i))] += weights[i];
  int64_t nearer = 0;
  int border = 0;
  while (border + 1 < static_cast<int>(sums.size()) && nearer + sums[border] < goal) nearer += sums[border++];
  // Only the bucket in which the sum reaches its goal is sorted.
  std::vector<std::pair<float, int64_t>> inside;
  for (int64_t i = 0; i < n; ++i) {
    if (weights[i] == 0) continue;
    const float d = distance(i);
    if (bucket(d) == border) inside.emplace_back(d, i);
    if (bucket(d) > border) weights[i] = 0;
  }
  std::sort(inside.begin(), inside.end());
  for (const auto& [d, i] : inside) {
    const int64_t weight = weights[i];
    if (nearer >= goal) weights[i] = 0;
    nearer += weight;
  }
}

}  // namespace fathom
