#include "posttrain/grpo.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace fathom {

KlTerm kl_k1(double logp, double ref_logp) { return {logp - ref_logp, 1}; }
KlTerm kl_k2(double logp, double ref_logp) {
  const double x = ref_logp - logp;
  return {x * x / 2, -x};
}
KlTerm kl_k3(double logp, double ref_logp) {
  const double x = ref_logp - logp;
  return {std::exp(x) - x - 1, 1 - std::exp(x)};
}

namespace {

// -min(ratio A, clip(ratio) A), and its derivative with respect to log(ratio).
struct Surrogate {
  double loss = 0, grad = 0;
};
Surrogate surrogate(const GrpoLossConfig& c, double ratio, double advantage) {
  const double clipped = std::clamp(ratio, 1 - c.clip_low, 1 + c.clip_high);
  const bool at_max = c.clip_max > 0 && ratio > c.clip_max;
  const double first = (at_max ? c.clip_max : ratio) * advantage, second = clipped * advantage;
  if (first <= second) return {-first, at_max ? 0 : -ratio * advantage};
  return {-second, clipped == ratio ? -ratio * advantage : 0};
}

}  // namespace

void grpo_sequence(const GrpoLossConfig& config, const GrpoDenominators& denominators, std::span<const double> advantage,
                   std::span<const double> logp, std::span<const double> old_logp, std::span<const double> ref_logp,
                   std::span<const uint8_t> mask, std::span<double> coefficient, GrpoSums& sums, int64_t sequence_tokens) {
  const size_t n = logp.size();
  CHECK(coefficient.size() == n && (advantage.size() == 1 || advantage.size() == n));
  CHECK((old_logp.empty() || old_logp.size() == n) && (mask.empty() || mask.size() == n));
  CHECK(config.beta == 0 || ref_logp.size() == n);
  const auto counts = [&](size_t t) { return mask.empty() || mask[t] != 0; };
  std::fill(coefficient.begin(), coefficient.end(), 0.0);
  int64_t tokens = 0;
  for (size_t t = 0; t < n; ++t) tokens += counts(t) ? 1 : 0;
  if (tokens == 0) return;
  if (sequence_tokens > 0) {
    CHECK(config.ratio == "token" && tokens <= sequence_tokens);
    tokens = sequence_tokens;
  }

  // What one token's loss weighs in the step's loss.
  const double sequences = static_cast<double>(denominators.sequences);
  double weight = 1 / (sequences * static_cast<double>(tokens));
  if (config.aggregation == "token-mean") weight = 1 / static_cast<double>(denominators.tokens);
  if (config.aggregation == "constant") weight = 1 / (sequences * static_cast<double>(config.max_length));
  if (config.aggregation == "seq-mean-token-sum") weight = 1 / sequences;

  const bool by_sequence = config.ratio == "sequence";
  double mean_log_ratio = 0;
  if (by_sequence && !old_logp.empty()) {
    for (size_t t = 0; t < n; ++t)
      if (counts(t)) mean_log_ratio += logp[t] - old_logp[t];
    mean_log_ratio /= static_cast<double>(tokens);
  }

  double shared_grad = 0;  // by_sequence: d loss / d mean_log_ratio
  for (size_t t = 0; t < n; ++t) {
    if (!counts(t)) continue;
    const double a = advantage.size() == 1 ? advantage[0] : advantage[t];
    const double log_ratio = by_sequence ? mean_log_ratio : old_logp.empty() ? 0 : logp[t] - old_logp[t];
    const double ratio = std::exp(log_ratio);
    const Surrogate s = surrogate(config, ratio, a);
    double loss = s.loss, grad_ratio = s.grad;
    if (!ref_logp.empty()) {
      const KlTerm k3 = kl_k3(logp[t], ref_logp[t]);
      const double factor = config.unbiased_kl ? ratio : 1;
      loss += config.beta * factor * k3.value;
      coefficient[t] += weight * config.beta * factor * k3.grad;
      if (config.unbiased_kl) grad_ratio += config.beta * ratio * k3.value;
      sums.kl += factor * k3.value;
    }
    if (by_sequence)
      shared_grad += weight * grad_ratio;
    else
      coefficient[t] += weight * grad_ratio;
    sums.loss += weight * loss;
    sums.ratio += ratio;
    sums.tokens += 1;
    sums.clipped_low += ratio < 1 - config.clip_low && a < 0 ? 1 : 0;
    sums.clipped_high += ratio > 1 + config.clip_high && a > 0 ? 1 : 0;
  }
  if (by_sequence)
    for (size_t t = 0; t < n; ++t)
      if (counts(t)) coefficient[t] += shared_grad / static_cast<double>(tokens);
}

}  // namespace fathom
