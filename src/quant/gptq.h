// GPTQ (Frantar et al. 2022, arXiv 2210.17323): a weight's columns are rounded one after the other, and those still to come
// take up the error of each, so that the layer's outputs on calibration inputs stay, not its weights.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/format/f16.h"
#include "tensor/tensor.h"

namespace fathom {

// Integers from `lowest` to `highest`, with one scale for every `group` of a row's k.
struct IntLayout {
  int64_t group;
  int lowest, highest;
};

// What all rows of a weight [N, K] share. With the inputs' gram G = X^T X (half of the paper's Hessian), columns in the order
// of rounding, and G = R R^T, R upper triangular, a row whose weights are off by e has outputs off by |e R|^2 in all. The j-th
// term of that sum knows e_0 .. e_j alone, and is least where e_j = - sum_{i<j} e_i R_ij / R_jj. That is the paper's algorithm
// 1 without an inverse: its Cholesky factor of G^-1 is R^-1.
class GptqPlan {
 public:
  // gram [K, K] F32, symmetric and finite. `damping` times the diagonal's mean is added to the diagonal; ten times as much, and
  // again, where the factor does not exist. A gram of zeros has nothing to take up: codes are the nearest ones.
  explicit GptqPlan(const Tensor& gram, double damping = 0.01);
  int64_t k() const { return static_cast<int64_t>(columns_.size()); }
  std::span<const int32_t> columns() const { return columns_; }  // in the order of rounding: inputs by falling power
  const Tensor& feed() const { return feed_; }  // [K, K] F32: R_ij / R_jj for i < j, in that order; the rest is undefined
  double damping() const { return damping_; }   // that was needed

 private:
  std::vector<int32_t> columns_;
  Tensor feed_;
  double damping_;
};

// codes [N, K] I8 of w [N, K] F32 under scales [N, K / group] that are given. A row's codes depend on nothing but itself and
// the plan. Multi-threaded.
void gptq_round(const GptqPlan& plan, const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes);
// The same with each value by itself: the nearest code.
void nearest_round(const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes);

// By row of w [N, K]: what the codes do to the outputs of the inputs behind `gram` [K, K] F32, summed squares.
std::vector<double> output_errors(const Tensor& w, const Tensor& codes, std::span<const f16> scales, const IntLayout& layout,
                                  const Tensor& gram);

}  // namespace fathom
