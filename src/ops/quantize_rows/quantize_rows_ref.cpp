#include "ops/quantize_rows/quantize_rows_ref.h"

#include <algorithm>
#include <cmath>

#include "ops/quantize_rows/quantize_rows.h"

namespace fathom::reference {

Int8Row quantize_row_int8(const std::vector<float>& x, int64_t group) {
  const int64_t n = static_cast<int64_t>(x.size());
  Int8Row row;
  row.codes.assign(x.size(), 0);
  const bool finite = std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); });
  for (int64_t k0 = 0; k0 < n; k0 += group) {
    float most = 0;
    for (int64_t k = k0; k < std::min(n, k0 + group); ++k) most = std::fmax(most, std::fabs(x[static_cast<size_t>(k)]));
    row.scales.push_back(!finite ? NAN : most < kSmallestInt8Group ? 0 : most / 127);
    if (!(row.scales.back() > 0)) continue;
    const float inverse = 127 / most;
    for (int64_t k = k0; k < std::min(n, k0 + group); ++k)
      row.codes[static_cast<size_t>(k)] = static_cast<int8_t>(std::nearbyint(x[static_cast<size_t>(k)] * inverse));
  }
  return row;
}

}  // namespace fathom::reference
