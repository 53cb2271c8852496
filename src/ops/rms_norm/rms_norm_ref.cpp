#include "ops/rms_norm/rms_norm_ref.h"

#include <cmath>

namespace fathom::reference {

std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& gain, double eps) {
  const size_t width = gain.size();
  std::vector<double> y(x.size());
  for (size_t row = 0; row < x.size(); row += width) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += x[row + i] * x[row + i];
    const double rms = std::sqrt(squares / static_cast<double>(width) + eps);
    for (size_t i = 0; i < width; ++i) y[row + i] = x[row + i] / rms * gain[i];
  }
  return y;
}

}  // namespace fathom::reference
