// Moving whole rows.
#pragma once
#include <span>

#include "tensor/tensor.h"

namespace fathom {

// to[i] = from[rows[i]], F32 or BF16, converted to the dtype of `to`.
void gather_rows(const Tensor& from, std::span<const int32_t> rows, Tensor& to);
// to = from, between F32 and BF16.
void convert_rows(const Tensor& from, Tensor& to);
// to[rows[i]] += from[i], F32; the rows are distinct.
void scatter_add_rows(const Tensor& from, std::span<const int32_t> rows, Tensor& to);

}  // namespace fathom
