// Lattice points of the IQ formats (see iq_grids.cpp for the packing).
#pragma once
#include <cstdint>

namespace fathom {

extern const uint16_t kIq2XxsGrid[256], kIq2XsGrid[512], kIq2SGrid[1024];  // 8 values of {8, 25, 43}
extern const uint16_t kIq3XxsGrid[256], kIq3SGrid[512];                    // 4 values of a list of 8
extern const uint16_t kIq1Grid[2048];                                      // 8 values of {-1, 0, 1}
constexpr float kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};  // of both IQ4

}  // namespace fathom
