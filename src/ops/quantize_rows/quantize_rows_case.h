#pragma once
#include <vector>

#include "kernels/op_case.h"

namespace fathom {
std::vector<OpCase> quantize_rows_cases();
}
