// The oracle: the three roles as their formulas read, in double. Also the documentation of the mathematics.
#pragma once
#include <vector>

#include "ops/matmul/matmul.h"

namespace fathom {

using Matrix = std::vector<double>;  // row-major

Matrix matmul_forward_ref(const Matrix& x, const Matrix& w, const Matrix& bias, int64_t m, int64_t n,
                          int64_t k);  // bias may be empty
Matrix matmul_backward_input_ref(const Matrix& dy, const Matrix& w, int64_t m, int64_t n, int64_t k);
Matrix matmul_backward_weight_ref(const Matrix& dy, const Matrix& x, int64_t m, int64_t n, int64_t k);

}  // namespace fathom
