// Dispatch: which rows go to which expert; combine: sum each token's expert outputs in a fixed order. Dropless.
#pragma once
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

// Routed rows sorted by expert, then by token: routed row r is (token rows[r], its slot slots[r] of k).
struct Dispatch {
  int num_experts = 0;
  int64_t num_tokens = 0, top_k = 0;
  std::vector<int32_t> offsets;   // [E+1]
  std::vector<int32_t> rows;      // [T*k] token of routed row r
  std::vector<int32_t> slots;     // [T*k] slot of routed row r
  std::vector<int32_t> position;  // [T*k] routed row of (token, slot): the inverse
};
Dispatch make_dispatch(const Tensor& ids /* [T,k] I32 */, int num_experts);

Tensor dispatch_weights(const Dispatch& d, const Tensor& weights);                  // [T,k] -> [T*k] in routed order, F32
void undispatch_weights(const Dispatch& d, const Tensor& routed, Tensor& weights);  // the inverse, assigned
// y[t] (+)= sum over slots, in slot order, of routed[position(t, slot)]. routed [T*k, d] F32 or BF16; y [T,d] F32 (or BF16).
void combine_forward(const Dispatch& d, const Tensor& routed, bool accumulate, Tensor& y);
// The gradient of combine is a gather (drouted[r] = dy[rows[r]]), which grouped_matmul does by itself (GroupedRows::rows).

}  // namespace fathom
