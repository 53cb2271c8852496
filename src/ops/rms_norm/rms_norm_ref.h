// The oracle: in double, from the formula.
#pragma once
#include <cstdint>
#include <vector>

namespace fathom::reference {
// y = x / sqrt(mean(x^2) + eps) * gain, for each row of `gain.size()` elements.
std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& gain, double eps);
}  // namespace fathom::reference
