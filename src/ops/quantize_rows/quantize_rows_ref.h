// The oracle: row by row, as the header reads.
#pragma once
#include <cstdint>
#include <vector>

namespace fathom::reference {

struct Int8Row {
  std::vector<int8_t> codes;
  std::vector<float> scales;  // one a group
};
Int8Row quantize_row_int8(const std::vector<float>& x, int64_t group);

}  // namespace fathom::reference
