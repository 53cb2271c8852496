// The three roles of a linear layer, single and grouped over experts. Weights are [N, K] (out, in), row-major.
//
//   forward          y[M,N]  = x[M,K] w[N,K]^T (+ bias[N])         assigned
//   backward_input   dx[M,K] = dy[M,N] w[N,K]                      assigned, or += where `accumulate`
//   backward_weight  dw[N,K] += dy[M,N]^T x[M,K]                   accumulates (f32)
//
// Operands are F32 or BF16; with Compute::kBF16 F32 operands are rounded to bf16 on packing, sums are f32.
// Strict: one reduction order over K for every M, N and thread count, fixed by the ISA rung and the compute type
// (f32: one FMA chain over k; bf16: the rung's, kernels/matmul/gemm.h). Outputs may be F32 or BF16 (rounded once).
// Row-strided tensors are welcome everywhere (Tensor::slice_columns).
#pragma once
#include <span>

#include "kernels/matmul/int8_rows.h"
#include "kernels/matmul/packed.h"
#include "tensor/tensor.h"

namespace fathom {

// A weight as the caller has it: row-major values, or packed once for the forward role (inference, rollouts), or both.
struct MatmulWeight {
  Tensor values;  // [N, K] F32 or BF16; may be empty where `packed` is given and only forward is asked for
  const PackedMatrix* packed = nullptr;  // of the same compute type; the bits are the same either way
};

void matmul_forward(const Tensor& x, const MatmulWeight& w, const Tensor* bias, Compute compute, Tensor& y);
// The same with x in int8 (ops/quantize_rows) for each format in w, which was packed for it. y F32 or BF16.
void matmul_forward(const Int8Rows& x, const PackedMatrix& w, const Tensor* bias, Tensor& y);
void matmul_backward_input(const Tensor& dy, const MatmulWeight& w, Compute compute, bool accumulate, Tensor& dx);
// `accumulate` false assigns instead of adding: the first micro-batch of a step then needs no zeroed gradient.
void matmul_backward_weight(const Tensor& dy, const Tensor& x, Compute compute, bool accumulate, Tensor& dw);
void bias_backward(const Tensor& dy, bool accumulate, Tensor& dbias);  // dbias[N] += sum over rows of dy[M,N], in row order

// Experts: rows [offsets[e], offsets[e+1]) of the routed operand belong to expert e; groups may be empty or uneven.
// Where `rows` is given, routed row r of x is x[rows[r]]: the gather happens on packing, nothing is copied.
struct GroupedRows {
  std::span<const int32_t> offsets;  // [E+1], rising, offsets[E] = routed rows R
  const int32_t* rows = nullptr;     // [R] or null: identity
  const int32_t* dy_rows = nullptr;  // [R] or null: the same for dy of the backward roles (combine's gradient is this gather)
};
// y[R,N] = x[rows] w[e][N,K]^T. w: [E,N,K], or `packed`: one a expert.
struct GroupedWeight {
  Tensor values;                         // [E, N, K]
  const PackedMatrix* packed = nullptr;  // array of E, or null
};
void grouped_matmul_forward(const Tensor& x, const GroupedRows& groups, const GroupedWeight& w, Compute compute, Tensor& y);
// The same with x in int8; w: one a expert, packed for it.
void grouped_matmul_forward(const Int8Rows& x, const GroupedRows& groups, const PackedMatrix* w, Tensor& y);
void grouped_matmul_backward_input(const Tensor& dy, const GroupedRows& groups, const GroupedWeight& w, Compute compute,
                                   Tensor& dx);
// dw[e] (+)= dy[group e]^T x[rows of group e]; an empty group adds nothing (and where `accumulate` is false, zeroes).
void grouped_matmul_backward_weight(const Tensor& dy, const Tensor& x, const GroupedRows& groups, Compute compute,
                                    bool accumulate, Tensor& dw);

}  // namespace fathom
