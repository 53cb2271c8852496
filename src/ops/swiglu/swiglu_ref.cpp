#include "ops/swiglu/swiglu_ref.h"

#include <cmath>

namespace fathom::reference {

std::vector<double> swiglu(const std::vector<double>& gate_up, const std::vector<double>& row_scale, int64_t width) {
  std::vector<double> act(gate_up.size() / 2);
  for (size_t i = 0; i < act.size(); ++i) {
    const size_t row = i / width, column = i % width;
    const double gate = gate_up[row * 2 * width + column], up = gate_up[row * 2 * width + width + column];
    act[i] = (row_scale.empty() ? 1 : row_scale[row]) * gate / (1 + std::exp(-gate)) * up;
  }
  return act;
}

}  // namespace fathom::reference
