#include "ops/moe_gate/moe_gate_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fathom::reference {
namespace {

// Indices by falling value, ties by rising index.
std::vector<int32_t> by_value(const std::vector<double>& x) {
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return x[a] > x[b]; });
  return order;
}

}  // namespace

std::vector<double> gate_scores(const MoeGateConfig& config, const std::vector<double>& logits) {
  std::vector<double> s(logits.size());
  const size_t experts = config.num_experts;
  for (size_t row = 0; row < s.size(); row += experts) {
    if (config.scoring == MoeGateConfig::Scoring::kSigmoid) {
      for (size_t e = row; e < row + experts; ++e) s[e] = 1 / (1 + std::exp(-logits[e]));
      continue;
    }
    const double largest = *std::max_element(&logits[row], &logits[row] + experts);
    double sum = 0;
    for (size_t e = row; e < row + experts; ++e) sum += s[e] = std::exp(logits[e] - largest);
    for (size_t e = row; e < row + experts; ++e) s[e] /= sum;
  }
  return s;
}

std::vector<int32_t> gate_ids(const MoeGateConfig& config, const std::vector<double>& logits, const std::vector<double>& bias) {
  const std::vector<double> scores = gate_scores(config, logits);
  const size_t experts = config.num_experts, size = experts / config.n_group;
  std::vector<int32_t> ids;
  for (size_t row = 0; row < scores.size(); row += experts) {
    std::vector<double> c(&scores[row], &scores[row] + experts);
    for (size_t e = 0; e < bias.size(); ++e) c[e] += bias[e];
    if (config.method != MoeGateConfig::Method::kGreedy && config.n_group > 1) {
      std::vector<double> groups;
      for (size_t g = 0; g < experts; g += size) {
        std::vector<double> members(&c[g], &c[g] + size);
        std::sort(members.rbegin(), members.rend());
        groups.push_back(config.method == MoeGateConfig::Method::kNoauxTc && size > 1 ? members[0] + members[1] : members[0]);
      }
      const auto order = by_value(groups);
      for (size_t j = config.topk_group; j < order.size(); ++j)
        for (size_t e = 0; e < size; ++e) c[order[j] * size + e] = -std::numeric_limits<double>::infinity();
    }
    auto order = by_value(c);
    order.resize(config.top_k);
    std::sort(order.begin(), order.end());
    ids.insert(ids.end(), order.begin(), order.end());
  }
  return ids;
}

std::vector<double> gate_weights(const MoeGateConfig& config, const std::vector<double>& logits,
                                 const std::vector<int32_t>& ids) {
  const std::vector<double> scores = gate_scores(config, logits);
  std::vector<double> w(ids.size());
  for (size_t i = 0; i < ids.size(); i += config.top_k) {
    double sum = 0;
    for (int j = 0; j < config.top_k; ++j) sum += w[i + j] = scores[i / config.top_k * config.num_experts + ids[i + j]];
    for (int j = 0; j < config.top_k; ++j) {
      if (config.norm_topk_prob) w[i + j] /= sum + 1e-20;
      w[i + j] *= config.routed_scaling_factor;
    }
  }
  return w;
}

double balance_loss(const MoeGateConfig& config, const std::vector<double>& logits, const std::vector<int32_t>& counted,
                    const std::vector<int64_t>& begins, double alpha) {
  const std::vector<double> scores = gate_scores(config, logits);
  const int64_t experts = config.num_experts, k = config.top_k, sequences = static_cast<int64_t>(begins.size()) - 1;
  double loss = 0;
  for (int64_t q = 0; q < sequences; ++q) {
    const double length = static_cast<double>(begins[q + 1] - begins[q]);
    for (int64_t i = 0; i < experts; ++i) {
      double f = 0, p = 0;
      for (int64_t t = begins[q]; t < begins[q + 1]; ++t) {
        for (int64_t j = 0; j < k; ++j) f += counted[t * k + j] == i;
        double sum = 0;
        for (int64_t e = 0; e < experts; ++e) sum += scores[t * experts + e];
        p += scores[t * experts + i] / sum;
      }
      loss += alpha * (experts / (k * length) * f) * (p / length) / static_cast<double>(sequences);
    }
  }
  return loss;
}

}  // namespace fathom::reference
