// Embedding look-up and its gradient.
#pragma once
#include <span>

#include "tensor/tensor.h"

namespace fathom {

// y[t] = table[ids[t]]. table [V,d] F32 or BF16, y [T,d] F32. An id outside [0, V) is a programmer error: check ids at the
// door.
void embedding_forward(std::span<const int32_t> ids, const Tensor& table, Tensor& y);
// dtable[ids[t]] += dy[t], in the order of t for each row (same bits for any thread count). dtable [V,d] F32.
void embedding_backward(std::span<const int32_t> ids, const Tensor& dy, Tensor& dtable);

}  // namespace fathom
