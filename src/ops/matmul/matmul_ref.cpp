#include "ops/matmul/matmul_ref.h"

namespace fathom {

// y[i,j] = sum_l x[i,l] w[j,l] + b[j]
Matrix matmul_forward_ref(const Matrix& x, const Matrix& w, const Matrix& bias, int64_t m, int64_t n, int64_t k) {
  Matrix y(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = bias.empty() ? 0 : bias[j];
      for (int64_t l = 0; l < k; ++l) sum += x[i * k + l] * w[j * k + l];
      y[i * n + j] = sum;
    }
  return y;
}

// dL/dx[i,l] = sum_j dL/dy[i,j] w[j,l]
Matrix matmul_backward_input_ref(const Matrix& dy, const Matrix& w, int64_t m, int64_t n, int64_t k) {
  Matrix dx(m * k);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l) dx[i * k + l] += dy[i * n + j] * w[j * k + l];
  return dx;
}

// dL/dw[j,l] = sum_i dL/dy[i,j] x[i,l]
Matrix matmul_backward_weight_ref(const Matrix& dy, const Matrix& x, int64_t m, int64_t n, int64_t k) {
  Matrix dw(n * k);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l) dw[j * k + l] += dy[i * n + j] * x[i * k + l];
  return dw;
}

}  // namespace fathom
