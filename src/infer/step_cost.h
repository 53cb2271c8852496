// How long a step takes: seconds = fixed + a * decode rows + b * prefill rows, learnt from the steps as they run. A Kalman
// filter over the three whose uncertainty grows a little with every step, so that it follows deeper contexts and a busier
// machine. No clock of its own.
#pragma once
#include <array>
#include <cstdint>

namespace fathom {

class StepCost {
 public:
  // A step of so many rows (at least one) took so long. Rows of guesses count as decode rows.
  void record(int64_t decode_rows, int64_t prefill_rows, double seconds);
  bool measured() const { return count_ > 0; }
  double seconds(int64_t decode_rows, int64_t prefill_rows) const;  // 0 before the first record()
  // Prefill rows that a step with so many decode rows can have within `target` seconds; where decoding alone takes 4/5 of the
  // target and more, those that make the step a quarter longer, so that prompts go on. At least 1; no limit before the first
  // record().
  int64_t prefill_rows_within(double target, int64_t decode_rows) const;

 private:
  using Vector = std::array<double, 3>;  // fixed, per decode row, per prefill row
  Vector cost_ = {};
  std::array<Vector, 3> covariance_ = {};
  int64_t count_ = 0;
};

}  // namespace fathom
