// The oracle: the formulas of architecture.md §1.3 term by term, f64 inside, one thread. Same contracts as attention.h.
#pragma once
#include "ops/attention/attention.h"

namespace fathom {

void attention_forward_ref(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                           Tensor& out, Tensor* lse);
void attention_backward_ref(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                            std::span<const AttentionSequence> sequences, const Tensor& dout, Tensor& dq, Tensor& dkv);

}  // namespace fathom
