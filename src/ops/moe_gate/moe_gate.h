// The router (report §2.1.2, eq. 12-16; V2 report §2.2): from logits to k experts and their weights, its gradient,
// the auxiliary-loss-free bias (report eq. 16, §4.2) and the sequence-wise balance loss (eq. 17-20). All in f32.
#pragma once
#include <span>

#include "tensor/tensor.h"

namespace fathom {

struct MoeGateConfig {
  enum class Method { kNoauxTc, kGreedy, kGroupLimitedGreedy } method = Method::kNoauxTc;
  enum class Scoring { kSigmoid, kSoftmax } scoring = Scoring::kSigmoid;
  int num_experts = 0, top_k = 0, n_group = 1, topk_group = 1;
  bool norm_topk_prob = true;
  float routed_scaling_factor = 1;
};

// logits [T,E] F32; bias [E] F32 (e_score_correction_bias; selection only) or null.
// ids [T,k] I32, ascending in each row; weights [T,k] F32, final (normalised with +1e-20, scaled).
// Ties go to the lower index; groups that are not kept are -infinity.
void moe_gate_forward(const MoeGateConfig& config, const Tensor& logits, const Tensor* bias, Tensor& ids, Tensor& weights);
// dlogits [T,E] F32, assigned: through the weights only (none through the selection or the bias).
void moe_gate_backward(const MoeGateConfig& config, const Tensor& logits, const Tensor& ids, const Tensor& weights,
                       const Tensor& dweights, Tensor& dlogits);

// L = alpha sum_i f_i P_i for each sequence (begins [S+1] row borders), averaged over sequences. Returns the loss; adds its
// gradient times `grad_scale` to dlogits where not null.
float balance_loss(const MoeGateConfig& config, const Tensor& logits, const Tensor& ids,
                   std::span<const int64_t> sequence_begins, float alpha, float grad_scale, Tensor* dlogits);
// counts[e] += tokens routed to e. counts [E] I64.
void count_expert_load(const Tensor& ids, Tensor& counts);
// bias_i += speed * sign(mean(load) - load_i): once an optimizer step, over the whole batch's counts.
void update_expert_bias(const Tensor& counts, float speed, Tensor& bias);
// MaxVio = max load / mean load - 1 (2408.15664).
float max_violation(const Tensor& counts);

}  // namespace fathom
