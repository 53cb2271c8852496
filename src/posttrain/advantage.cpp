#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "posttrain/grpo.h"

namespace fathom {
namespace {

struct Moments {
  double mean = 0, std = 0;
  int64_t count = 0;
};

Moments moments_of(std::span<const double> values, bool population) {
  Moments m;
  for (const double v : values)
    if (!std::isnan(v)) m.mean += v, ++m.count;
  if (m.count == 0) return m;
  m.mean /= static_cast<double>(m.count);
  double squares = 0;
  for (const double v : values)
    if (!std::isnan(v)) squares += (v - m.mean) * (v - m.mean);
  const int64_t divisor = population ? m.count : m.count - 1;
  m.std = divisor > 0 ? std::sqrt(squares / static_cast<double>(divisor)) : 0;
  return m;
}

// values := (values - group mean) / (std + eps); NaN stays NaN.
void normalize_groups(std::vector<double>& values, int64_t group_size, const std::string& scale, bool population, double eps) {
  const Moments batch = moments_of(values, population);
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(group_size)) {
    const std::span<double> group(values.data() + begin, static_cast<size_t>(group_size));
    const Moments m = moments_of(group, population);
    const double divisor = scale == "none" ? 1 : (scale == "batch" ? batch.std : m.std) + eps;
    for (double& v : group) v = (v - m.mean) / divisor;
  }
}

}  // namespace

Advantages group_advantages(const std::vector<std::vector<double>>& rewards, std::span<const double> weights,
                            int64_t group_size, const AdvantageConfig& config) {
  const size_t n = rewards.size();
  CHECK(group_size > 0 && n % static_cast<size_t>(group_size) == 0);
  const bool population = config.std_kind == "population";
  const double nan = std::numeric_limits<double>::quiet_NaN();

  // Weighted sums: rewards that do not apply are left out; rows without any stay NaN.
  std::vector<double> total(n, nan);
  for (size_t i = 0; i < n; ++i) {
    CHECK_EQ(rewards[i].size(), weights.size());
    for (size_t k = 0; k < weights.size(); ++k)
      if (!std::isnan(rewards[i][k])) total[i] = (std::isnan(total[i]) ? 0 : total[i]) + weights[k] * rewards[i][k];
  }

  Advantages out;
  int64_t equal = 0;
  for (size_t begin = 0; begin < n; begin += static_cast<size_t>(group_size)) {
    const std::span<const double> group(total.data() + begin, static_cast<size_t>(group_size));
    equal += moments_of(group, population).std <= 1e-12 ? 1 : 0;
  }
  if (n > 0) out.frac_reward_zero_std = static_cast<double>(equal) / (static_cast<double>(n) / static_cast<double>(group_size));

  if (config.normalize_each_reward) {
    std::vector<double> sum(n, nan);
    for (size_t k = 0; k < weights.size(); ++k) {
      std::vector<double> one(n);
      for (size_t i = 0; i < n; ++i) one[i] = rewards[i][k];
      normalize_groups(one, group_size, "group", population, config.eps_std);
      for (size_t i = 0; i < n; ++i)
        if (!std::isnan(one[i])) sum[i] = (std::isnan(sum[i]) ? 0 : sum[i]) + weights[k] * one[i];
    }
    const Moments batch = moments_of(sum, population);
    for (double& v : sum) v = (v - batch.mean) / (batch.std + config.eps_std);
    out.advantage = std::move(sum);
  } else {
    normalize_groups(total, group_size, config.scale, population, config.eps_std);
    out.advantage = std::move(total);
  }
  for (double& a : out.advantage)
    if (std::isnan(a)) a = 0;
  return out;
}

bool group_has_signal(std::span<const double> rewards) {
  for (const double r : rewards)
    if (r != rewards[0]) return true;
  return false;
}

double soft_overlong_reward(int64_t length, int64_t max_length, int64_t cache) {
  const int64_t over = length - (max_length - cache);
  if (over <= 0) return 0;
  if (length > max_length) return -1;
  return -static_cast<double>(over) / static_cast<double>(cache);
}

Interval wilson_interval(int64_t successes, int64_t trials) {
  CHECK(trials > 0 && successes >= 0 && successes <= trials);
  const double z = 1.959963984540054, n = static_cast<double>(trials), p = static_cast<double>(successes) / n;
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

}  // namespace fathom
