#include "infer/step_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace fathom {
namespace {

constexpr double kNoise = 0.1;   // of a step's seconds: what the line does not explain
constexpr double kDrift = 0.01;  // of the mean cost, a step: how fast the costs themselves move
constexpr int64_t kTrust = 3;    // records until one that took more than twice as long as expected counts as twice

double square(double x) { return x * x; }

}  // namespace

void StepCost::record(int64_t decode_rows, int64_t prefill_rows, double seconds) {
  const double rows = static_cast<double>(decode_rows + prefill_rows);
  CHECK(rows > 0);
  if (!(seconds > 0)) return;  // a clock that stood still
  const Vector x = {1, static_cast<double>(decode_rows), static_cast<double>(prefill_rows)};
  if (count_ == 0) {  // half is fixed, half goes by rows: as uncertain as it is large
    cost_ = {seconds / 2, seconds / 2 / rows, seconds / 2 / rows};
    for (size_t i = 0; i < 3; ++i) covariance_[i][i] = square(2 * cost_[i]);
  }
  const double expected = this->seconds(decode_rows, prefill_rows);
  if (count_ >= kTrust) seconds = std::min(seconds, 2 * expected);  // it waited for another process
  ++count_;
  for (size_t i = 0; i < 3; ++i) covariance_[i][i] += square(kDrift * seconds / (i == 0 ? 1 : rows));
  Vector px = {};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) px[i] += covariance_[i][j] * x[j];
  double variance = square(kNoise * seconds);
  for (size_t i = 0; i < 3; ++i) variance += x[i] * px[i];
  for (size_t i = 0; i < 3; ++i) {
    cost_[i] = std::max(0.0, cost_[i] + px[i] / variance * (seconds - expected));
    for (size_t j = 0; j < 3; ++j) covariance_[i][j] -= px[i] * px[j] / variance;
  }
}

double StepCost::seconds(int64_t decode_rows, int64_t prefill_rows) const {
  return cost_[0] + cost_[1] * static_cast<double>(decode_rows) + cost_[2] * static_cast<double>(prefill_rows);
}

int64_t StepCost::prefill_rows_within(double target, int64_t decode_rows) const {
  const double decode = seconds(decode_rows, 0), rows = std::max(target - decode, decode / 4) / cost_[2];
  if (!measured() || !(rows < 1e9)) return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(1, std::llround(std::floor(rows)));
}

}  // namespace fathom
