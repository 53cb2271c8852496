#include "ops/attention/attention.h"

#include "base/check.h"
#include "ops/attention/attention_ref.h"

namespace fathom {

void attention_forward(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                       Tensor& out, Tensor* lse) {
  CHECK(layout.num_kv_heads > 0 && layout.num_heads % layout.num_kv_heads == 0);
  CHECK_EQ(q.dim(1), layout.num_heads * layout.query_width());
  CHECK_EQ(out.dim(1), layout.num_heads * layout.value_width);
  attention_forward_ref(layout, q, sequences, out, lse);
}

void attention_backward(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                        std::span<const AttentionSequence> sequences, const Tensor& /*out*/, const Tensor& /*lse*/,
                        const Tensor& dout, Tensor& dq, Tensor& dkv) {
  attention_backward_ref(layout, q, kv, sequences, dout, dq, dkv);
}

std::vector<std::vector<const void*>> packed_blocks(const Tensor& kv, std::span<const int64_t> sequence_begins) {
  std::vector<std::vector<const void*>> blocks;
  for (size_t s = 0; s + 1 < sequence_begins.size(); ++s) {
    blocks.emplace_back();
    for (int64_t row = sequence_begins[s]; row < sequence_begins[s + 1]; row += kKeyBlock)
      blocks.back().push_back(kv.raw() + row * kv.row_stride() * dtype_bytes(kv.dtype()));
  }
  return blocks;
}

}  // namespace fathom
