#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/error.h"
#include "ops/rope/rope.h"

namespace fathom {
namespace {

// YaRN's magnitude (Peng et al. 2023, eq. 22 with DeepSeek's multiplier): 0.1 m ln s + 1 for a stretched context.
double get_mscale(double scale, double mscale) { return scale <= 1 ? 1 : 0.1 * mscale * std::log(scale) + 1; }

void require(bool condition, const char* what, double value) {
  if (!condition)
    fail_usage("rope", std::string("rope_scaling ") + what + " is " + std::to_string(value) + "; correct config.json");
}

// inv_freq_j = theta_j/s ramp_j + theta_j (1 - ramp_j): slow pairs are interpolated, fast ones kept (architecture.md §1.3).
void yarn(int dim, double theta, const RopeScaling& s, RopeTable& table) {
  require(s.factor > 0, "factor", s.factor);
  require(s.original_max_position_embeddings > 0, "original_max_position_embeddings", s.original_max_position_embeddings);
  require(s.beta_fast > 0, "beta_fast", s.beta_fast);
  require(s.beta_slow > 0, "beta_slow", s.beta_slow);
  // The (real) index of the pair that turns `turns` times within the original context.
  auto correction = [&](double turns) {
    return dim * std::log(s.original_max_position_embeddings / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(correction(s.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(s.beta_slow)), dim - 1.0);
  if (low == high) high += 0.001;
  for (int j = 0; j < dim / 2; ++j) {
    const double ramp = std::clamp((j - low) / (high - low), 0.0, 1.0);
    table.inv_freq[j] = table.inv_freq[j] / s.factor * ramp + table.inv_freq[j] * (1 - ramp);
  }
  // The ratio only where both keys are given (transformers' rule); attn_factor multiplies either (vLLM's reading).
  table.magnitude = s.mscale != 0 && s.mscale_all_dim != 0
                        ? get_mscale(s.factor, s.mscale) / get_mscale(s.factor, s.mscale_all_dim)
                        : get_mscale(s.factor, 1);
  table.magnitude *= s.attn_factor;
}

// By wavelength: short ones stay, long ones are divided by the factor, a smooth band between (architecture.md §2.3).
void llama3(const RopeScaling& s, RopeTable& table) {
  require(s.factor > 0, "factor", s.factor);
  require(s.original_max_position_embeddings > 0, "original_max_position_embeddings", s.original_max_position_embeddings);
  require(s.low_freq_factor > 0, "low_freq_factor", s.low_freq_factor);
  require(s.high_freq_factor > s.low_freq_factor, "high_freq_factor", s.high_freq_factor);
  const double original = s.original_max_position_embeddings;
  for (double& f : table.inv_freq) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength < original / s.high_freq_factor) continue;
    if (wavelength > original / s.low_freq_factor) {
      f /= s.factor;
      continue;
    }
    const double smooth = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    f = (1 - smooth) * f / s.factor + smooth * f;
  }
}

}  // namespace

RopeTable make_rope_table(int dim, double theta, const RopeScaling& scaling) {
  if (dim <= 0 || dim % 2 != 0) fail_usage("rope", "rotated width is " + std::to_string(dim) + "; it must be even and above 0");
  if (!(theta > 1)) fail_usage("rope", "rope_theta is " + std::to_string(theta) + "; it must be above 1");
  RopeTable table;
  table.inv_freq.resize(dim / 2);
  for (int j = 0; j < dim / 2; ++j) table.inv_freq[j] = std::pow(theta, -2.0 * j / dim);
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      break;
    case RopeScaling::Kind::kYarn:
      yarn(dim, theta, scaling, table);
      break;
    case RopeScaling::Kind::kLlama3:
      llama3(scaling, table);
      break;
    case RopeScaling::Kind::kLinear:
      require(scaling.factor > 0, "factor", scaling.factor);
      for (double& f : table.inv_freq) f /= scaling.factor;
      break;
  }
  return table;
}

double rope_softmax_factor(const RopeScaling& scaling) {
  if (scaling.kind != RopeScaling::Kind::kYarn) return 1;
  const double m = get_mscale(scaling.factor, scaling.mscale_all_dim);
  return m * m;
}

}  // namespace fathom
