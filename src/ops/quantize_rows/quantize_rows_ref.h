// The oracle: row by row, as the header reads.
#pragma once
#include <cstdint>
#include <vector>

namespace fathom::reference {

struct Int8Row {
  std::vector<int8_t> codes;
  float scale = 0;
};
Int8Row quantize_row_int8(const std::vector<float>& x);

}  // namespace fathom::reference
