// The benchmark's shapes of this op.
#pragma once
#include <vector>

#include "kernels/op_case.h"

namespace fathom {
std::vector<OpCase> cross_entropy_cases();
}  // namespace fathom
