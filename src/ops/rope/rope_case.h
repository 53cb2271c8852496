// The benchmark's shapes of this op.
#pragma once
#include <vector>

#include "kernels/op_case.h"

namespace fathom {
std::vector<OpCase> rope_cases();
}  // namespace fathom
