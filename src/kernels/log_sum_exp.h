// The one log-sum-exp routine: trainer, sampler and evaluation get the same bits from the same logits. A row is cut into
// fixed chunks; each gives its maximum and its sum of exp(x - maximum), which are joined in order.
#pragma once
#include <cstdint>

#include "backend/cpu/isa.h"

namespace fathom {

constexpr int64_t kVocabularyChunk = 4096;

// log sum exp(x[0..n)). All -infinity gives -infinity; a NaN or +infinity gives NaN. n >= 1. `maximum`, unless null, is given
// row_max(x, n) where the result is finite.
float row_log_sum_exp(const float* x, int64_t n, float* maximum = nullptr);
// Entropy of softmax(x[0..n)) in nats.
float row_entropy(const float* x, int64_t n);
// Kullback-Leibler divergence of softmax(q) from softmax(p), in nats: sum p (log p - log q) over [0..n); lse_p and lse_q are
// the rows' log-sum-exps. Summed as p (e^d - 1 - d), d = log q - log p, which is the same where both sum to 1: no term is below
// 0, and a rounding of the lse counts in second order only. Infinity where q is 0 and p is not.
float row_kl_divergence(const float* p, float lse_p, const float* q, float lse_q, int64_t n);
// Largest of x[0..n); NaNs are passed over where something else is there.
float row_max(const float* x, int64_t n);

}  // namespace fathom

FATHOM_DECLARE_RUNGS3(float row_log_sum_exp(const float* x, int64_t n, float* maximum))
FATHOM_DECLARE_RUNGS3(float row_entropy(const float* x, int64_t n))
FATHOM_DECLARE_RUNGS3(float row_kl_divergence(const float* p, float lse_p, const float* q, float lse_q, int64_t n))
FATHOM_DECLARE_RUNGS3(float row_max(const float* x, int64_t n))
