#include "base/check.h"
#include "ops/attention/attention_dispatch.h"
#include "ops/attention/attention_ref.h"

namespace fathom {

void attention_backward(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                        std::span<const AttentionSequence> sequences, const Tensor& /*out*/, const Tensor& /*lse*/,
                        const Tensor& dout, Tensor& dq, Tensor& dkv) {
  attention_backward_ref(layout, q, kv, sequences, dout, dq, dkv);
}

}  // namespace fathom
