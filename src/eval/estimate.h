// A mean over tokens with its 95 % interval. Tokens of one text are not independent, so the interval comes from the spread of
// whole blocks of them (ratio estimator, Student's t).
#pragma once
#include <span>

namespace fathom {

struct Estimate {
  double mean = 0;
  double low = 0, high = 0;  // NaN: fewer than kMinBlocks blocks, too few to tell
};
constexpr int kMinBlocks = 8;

// sum(sums) / sum(counts) of equally many blocks; counts are above 0, at least one block.
Estimate block_mean(std::span<const double> sums, std::span<const double> counts);
// The 0.975 quantile of Student's t with `freedom` >= 7 degrees of freedom, to 2e-4 (an expansion about the normal one).
double student_quantile(double freedom);

}  // namespace fathom
