#include "eval/estimate.h"

#include <cmath>
#include <limits>

#include "base/check.h"

namespace fathom {

double student_quantile(double freedom) {
  CHECK(freedom >= kMinBlocks - 1);
  const double z = 1.959963984540054, z2 = z * z, v = freedom;  // Abramowitz & Stegun 26.7.5
  return z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
         z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v) +
         z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / (92160 * v * v * v * v);
}

Estimate block_mean(std::span<const double> sums, std::span<const double> counts) {
  CHECK(!sums.empty() && sums.size() == counts.size());
  double sum = 0, count = 0;
  for (size_t i = 0; i < sums.size(); ++i) sum += sums[i], count += counts[i];
  Estimate e;
  e.mean = sum / count;
  e.low = e.high = std::numeric_limits<double>::quiet_NaN();
  if (sums.size() < kMinBlocks) return e;
  double square = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double off = sums[i] - e.mean * counts[i];
    square += off * off;
  }
  const double blocks = static_cast<double>(sums.size());
  const double error = std::sqrt(square * blocks / (blocks - 1)) / count;
  const double half = student_quantile(blocks - 1) * error;
  e.low = e.mean - half;
  e.high = e.mean + half;
  return e;
}

}  // namespace fathom
