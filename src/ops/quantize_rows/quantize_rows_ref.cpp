#include "ops/quantize_rows/quantize_rows_ref.h"

#include <cmath>

#include "ops/quantize_rows/quantize_rows.h"

namespace fathom::reference {

Int8Row quantize_row_int8(const std::vector<float>& x) {
  Int8Row row;
  row.codes.assign(x.size(), 0);
  float most = 0;
  for (const float v : x) {
    if (!std::isfinite(v)) {
      row.scale = NAN;
      return row;
    }
    most = std::fmax(most, std::fabs(v));
  }
  if (most < kSmallestInt8Row) return row;
  row.scale = most / 127;
  const float inverse = 127 / most;
  for (size_t i = 0; i < x.size(); ++i) row.codes[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
  return row;
}

}  // namespace fathom::reference
