#include "ops/sampling/sampling_ref.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace fathom::reference {
namespace {

void normalise(std::vector<double>& p) {
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
}

std::vector<double> adjusted(std::vector<double> x, const SamplingParams& params, const SamplingHistory& history) {
  std::map<int32_t, int64_t> answer;
  std::set<int32_t> text(history.prompt.begin(), history.prompt.end());
  for (const int32_t id : history.generated) ++answer[id], text.insert(id);
  for (const TokenBias& b : params.logit_bias) x[b.id] += b.bias;
  for (const int32_t id : text) x[id] *= x[id] > 0 ? 1.0 / params.repetition_penalty : double{params.repetition_penalty};
  for (const auto& [id, count] : answer)
    x[id] -= params.frequency_penalty * static_cast<double>(count) + double{params.presence_penalty};
  return x;
}

}  // namespace

std::vector<double> sampling_distribution(const std::vector<double>& raw, int64_t num_valid, const SamplingParams& params,
                                          const SamplingHistory& history) {
  const std::vector<double> logits = adjusted(raw, params, history);
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
  if (params.typical_p < 1) {
    double entropy = 0;
    for (const double x : p)
      if (x > 0) entropy -= x * std::log(x);
    std::vector<int64_t> near;
    for (int64_t i = 0; i < num_valid; ++i)
      if (p[i] > 0) near.push_back(i);
    std::stable_sort(near.begin(), near.end(), [&](int64_t a, int64_t b) {
      return std::fabs(-std::log(p[a]) - entropy) < std::fabs(-std::log(p[b]) - entropy);
    });
    double sum = 0;
    for (size_t j = 0; j < near.size(); ++j) {
      const double mass = p[near[j]];
      if (j > 0 && sum >= params.typical_p) p[near[j]] = 0;
      sum += mass;
    }
    normalise(p);
  }
  return p;
}

}  // namespace fathom::reference
