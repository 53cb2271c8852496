#include "ops/cross_entropy/cross_entropy_ref.h"

#include <algorithm>
#include <cmath>

namespace fathom::reference {
namespace {

double log_sum_exp(const double* x, int64_t n) {
  const double largest = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
  return largest + std::log(sum);
}

}  // namespace

std::vector<double> log_probs(const std::vector<double>& logits, const std::vector<int32_t>& targets, int64_t width,
                              int64_t valid) {
  std::vector<double> logp(targets.size());
  for (size_t t = 0; t < targets.size(); ++t)
    if (targets[t] >= 0) logp[t] = logits[t * width + targets[t]] - log_sum_exp(&logits[t * width], valid);
  return logp;
}

std::vector<double> entropy(const std::vector<double>& logits, int64_t width, int64_t valid) {
  std::vector<double> h(logits.size() / width);
  for (size_t t = 0; t < h.size(); ++t) {
    const double* x = &logits[t * width];
    const double lse = log_sum_exp(x, valid);
    for (int64_t i = 0; i < valid; ++i) h[t] -= std::exp(x[i] - lse) * (x[i] - lse);
  }
  return h;
}

std::vector<double> kl_divergence(const std::vector<double>& p, const std::vector<double>& q, int64_t width, int64_t valid) {
  std::vector<double> kl(p.size() / width);
  for (size_t t = 0; t < kl.size(); ++t) {
    const double *x = &p[t * width], *y = &q[t * width];
    const double a = log_sum_exp(x, valid), b = log_sum_exp(y, valid);
    for (int64_t i = 0; i < valid; ++i) kl[t] += std::exp(x[i] - a) * ((x[i] - a) - (y[i] - b));
  }
  return kl;
}

}  // namespace fathom::reference
