#include "kernels/log_sum_exp.h"

#include "kernels/rungs.h"

namespace fathom {

float row_log_sum_exp(const float* x, int64_t n, float* maximum) { return FATHOM_PICK3(row_log_sum_exp)(x, n, maximum); }
float row_entropy(const float* x, int64_t n) { return FATHOM_PICK3(row_entropy)(x, n); }
float row_kl_divergence(const float* p, float lse_p, const float* q, float lse_q, int64_t n) {
  return FATHOM_PICK3(row_kl_divergence)(p, lse_p, q, lse_q, n);
}
float row_max(const float* x, int64_t n) { return FATHOM_PICK3(row_max)(x, n); }

}  // namespace fathom
