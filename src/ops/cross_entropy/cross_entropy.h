// Log-probabilities of tokens: one log-sum-exp routine with fixed vocabulary chunks, shared by trainer, sampler and
// evaluation; and the fused softmax cross-entropy for training on a chunk of logits. All f32.
#pragma once
#include <span>

#include "tensor/tensor.h"

namespace fathom {

// lse[t] = log sum_v exp(logits[t,v]), over fixed chunks of the vocabulary in order. logits [T,V] F32. num_valid: rows of
// padding at the end of the vocabulary are left out (V: none).
void log_sum_exp(const Tensor& logits, int64_t num_valid, Tensor& lse);
// logp[t] = logits[t, targets[t]] - lse[t]; 0 where targets[t] < 0. lse [T]: also written where not null.
void token_log_probs(const Tensor& logits, std::span<const int32_t> targets, int64_t num_valid, Tensor& logp,
                     Tensor* lse = nullptr);
// Gradient of sum_t coefficient[t] * logp[t] in place: logits[t,v] := coefficient[t] * (1[v = target] - softmax(t,v)), for
// rows with target < 0 all zero. Cross-entropy is coefficient = -1/N; policy gradients have others.
// logp [T] F32 is also written; `lse` of token_log_probs saves computing it again. dlogits [T,V] F32 or BF16: may be `logits`
// itself where F32, and each row may begin where its row of logits begins where BF16.
void log_prob_backward(const Tensor& logits, std::span<const int32_t> targets, std::span<const float> coefficient,
                       int64_t num_valid, Tensor& dlogits, Tensor& logp, const Tensor* lse = nullptr);
// kl[t] = KL(softmax(p[t]) || softmax(q[t])) in nats, [T] F32; lse_p, lse_q [T]: of log_sum_exp or token_log_probs with the
// same num_valid. p, q [T,V] F32.
void token_kl_divergence(const Tensor& p, const Tensor& lse_p, const Tensor& q, const Tensor& lse_q, int64_t num_valid,
                         Tensor& kl);
// Entropy of softmax(logits[t]) in nats, [T] F32.
void token_entropy(const Tensor& logits, int64_t num_valid, Tensor& entropy);

}  // namespace fathom
