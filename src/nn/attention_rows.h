// Where a layer's keys and values of one forward lie: in the cache (written there first) or in the packed activation itself.
#pragma once
#include <vector>

#include "nn/forward_context.h"
#include "nn/profile.h"
#include "ops/attention/attention.h"

namespace fathom {

// Rows for a key/value activation: blocks of 64 are read whole, so memory up to a block's end must be readable.
Tensor empty_kv_rows(int64_t rows, int64_t width, DType dtype);

// The products of this forward's rows with all keys and values that they see, and the bytes of those.
ProfileWork attention_work(const ForwardContext& context, const AttentionLayout& layout);

class AttentionRows {
 public:
  // kv [T, width]: with a cache its rows are copied there (width = the cache's row width); without, it is the store.
  AttentionRows(const ForwardContext& context, int layer, const Tensor& kv);
  std::span<const AttentionSequence> sequences() const { return sequences_; }

 private:
  std::vector<std::vector<const void*>> blocks_;
  std::vector<AttentionSequence> sequences_;
};

}  // namespace fathom
