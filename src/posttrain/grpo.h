// GRPO's mathematics as pure functions (DeepSeekMath eq. 3-4; R1 §2.2.1; the switches of DAPO, Dr. GRPO, GSPO): rewards to
// advantages, and one sequence's loss with its gradient with respect to the token log-probabilities. All in f64.
//
// Micro-batching cannot change a gradient: a sequence's coefficient depends on that sequence and on the denominators of the
// whole optimizer step, which are fixed before the first micro-batch runs.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/config.h"

namespace fathom {

// --- rewards to advantages
struct AdvantageConfig {
  std::string scale = "group";      // divide by: the group's std, the batch's (REINFORCE++, Lite-PPO), nothing (Dr. GRPO)
  std::string std_kind = "sample";  // n - 1 (TRL) or n
  double eps_std = 1e-4;
  bool normalize_each_reward = false;  // GDPO: each reward by itself in its group, weighted sum, then over the batch

  void fields(ConfigFields& f) {
    f.field("scale", scale, "what the centred reward is divided by: std of the group, of the batch, or nothing (Dr. GRPO)",
            {"group", "batch", "none"});
    f.field("std_kind", std_kind, "divisor of the variance: n-1 (sample) or n (population)", {"sample", "population"});
    f.field("eps_std", eps_std, "added to the std", 0, 1);
    f.field("normalize_each_reward", normalize_each_reward, "GDPO: normalise each reward by itself before they are summed");
  }
};
struct Advantages {
  std::vector<double> advantage;    // [N]
  double frac_reward_zero_std = 0;  // share of groups whose rewards are all equal: no gradient comes from them
};
// rewards [N][num_rewards], groups of group_size consecutive rows; NaN: this reward does not apply to this row. A row of NaN
// only gets advantage 0 and does not count in means and stds.
Advantages group_advantages(const std::vector<std::vector<double>>& rewards, std::span<const double> weights,
                            int64_t group_size, const AdvantageConfig& config);
// DAPO eq. 11, dynamic sampling: a group teaches something where 0 < correct < G.
bool group_has_signal(std::span<const double> rewards);
// DAPO's soft overlong punishment: 0 up to max_length - cache, then linear to -1 at max_length and beyond.
double soft_overlong_reward(int64_t length, int64_t max_length, int64_t cache);

// --- loss
struct GrpoLossConfig {
  std::string aggregation = "seq-mean-token-mean";
  std::string ratio = "token";
  double clip_low = 0.2, clip_high = 0.2, clip_max = 0, beta = 0;
  bool unbiased_kl = false;
  int64_t max_length = 0;  // L_max of "constant"; set from the rollout's limit

  void fields(ConfigFields& f) {
    f.field("aggregation", aggregation,
            "GRPO: seq-mean-token-mean; DAPO: token-mean; Dr. GRPO: constant; LUSPO: seq-mean-token-sum",
            {"seq-mean-token-mean", "token-mean", "constant", "seq-mean-token-sum"});
    f.field("ratio", ratio, "importance ratio of each token (GRPO), or of the sequence as a geometric mean (GSPO)",
            {"token", "sequence"});
    f.field("clip_low", clip_low, "ratio is clipped below 1 - clip_low where the advantage is negative", 0);
    f.field("clip_high", clip_high, "ratio is clipped above 1 + clip_high where the advantage is positive (R1: 10)", 0);
    f.field("clip_max", clip_max, "two-sided clip: largest ratio where the advantage is negative; 0: none", 0);
    f.field("beta", beta, "weight of the k3 KL to the reference policy, in the loss; 0: no reference policy is kept", 0);
    f.field("unbiased_kl", unbiased_kl, "multiply k3 by the importance ratio (V3.2)");
  }
};
// Counts over the whole optimizer step: all its sequences (masked ones too) and all its unmasked tokens.
struct GrpoDenominators {
  int64_t sequences = 0, tokens = 0;
};
struct GrpoSums {   // over unmasked tokens; divide by `tokens`
  double loss = 0;  // already aggregated: the step's loss is the sum of this over its sequences
  double kl = 0, ratio = 0;
  int64_t tokens = 0, clipped_low = 0, clipped_high = 0;
};
// One sequence. advantage: one value, or one per token. old_logp empty: on-policy (ratio 1, gradient of the log). ref_logp
// may be empty where beta = 0. mask[t] = 0 leaves token t out (empty: all count). coefficient[t] := d loss / d logp[t].
// With token ratios a sequence may come in parts: sequence_tokens is then the count of its unmasked tokens (0: all are here).
void grpo_sequence(const GrpoLossConfig& config, const GrpoDenominators& denominators, std::span<const double> advantage,
                   std::span<const double> logp, std::span<const double> old_logp, std::span<const double> ref_logp,
                   std::span<const uint8_t> mask, std::span<double> coefficient, GrpoSums& sums, int64_t sequence_tokens = 0);

// Schulman's estimators of KL(pi || ref) from samples of pi, with x = ref_logp - logp: k1 = -x, k2 = x^2/2, k3 = e^x - x - 1.
struct KlTerm {
  double value = 0, grad = 0;  // grad: with respect to logp
};
KlTerm kl_k1(double logp, double ref_logp);
KlTerm kl_k2(double logp, double ref_logp);
KlTerm kl_k3(double logp, double ref_logp);

// Wilson's score interval of a share, 95 %.
struct Interval {
  double low = 0, high = 0;
};
Interval wilson_interval(int64_t successes, int64_t trials);

}  // namespace fathom
