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
  // kv [T, width]: with a cache its rows are copied there; without, it is the store. Where layout.store is quantised, records
  // of the rows take their place in both cases: a chunk sees its own keys as the cache gives them back.
  AttentionRows(const ForwardContext& context, const AttentionLayout& layout, int layer, const Tensor& kv);
  std::span<const AttentionSequence> sequences() const { return sequences_; }

 private:
  Tensor records_;  // without a cache
  std::vector<std::vector<const void*>> blocks_;
  std::vector<AttentionSequence> sequences_;
};

}  // namespace fathom
