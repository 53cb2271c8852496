// The oracle: in double, from the formula.
#pragma once
#include <cstdint>
#include <vector>

namespace fathom::reference {
// act[r, i] = scale[r] silu(gate[r, i]) up[r, i]; gate_up rows of 2 width. `row_scale` empty: 1.
std::vector<double> swiglu(const std::vector<double>& gate_up, const std::vector<double>& row_scale, int64_t width);
}  // namespace fathom::reference
