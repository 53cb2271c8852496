#include "ops/sampling/sampling_ref.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fathom::reference {
namespace {

void normalise(std::vector<double>& p) {
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
}

}  // namespace

std::vector<double> sampling_distribution(const std::vector<double>& logits, int64_t num_valid, const SamplingParams& params) {
  std::vector<double> p(logits.size());
  std::vector<int64_t> order(num_valid);  // best first
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (params.temperature == 0) {
    p[order[0]] = 1;
    return p;
  }
  for (int64_t i = 0; i < num_valid; ++i) p[i] = std::exp((logits[i] - logits[order[0]]) / params.temperature);
  normalise(p);
  if (params.top_k > 0) {
    for (int64_t j = params.top_k; j < num_valid; ++j) p[order[j]] = 0;
    normalise(p);
  }
  if (params.top_p < 1) {
    double sum = 0;
    for (int64_t j = 0; j < num_valid; ++j) {
      if (j > 0 && sum >= params.top_p) p[order[j]] = 0;
      sum += p[order[j]];
    }
    normalise(p);
  }
  if (params.min_p > 0) {
    const double least = params.min_p * p[order[0]];
    for (double& x : p)
      if (x < least) x = 0;
    normalise(p);
  }
  return p;
}

}  // namespace fathom::reference
