// y = x W^T (+ b): one fused weight with the published names of its parts, its packed copy, and the three roles apart.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "nn/forward_context.h"
#include "nn/parameter.h"
#include "nn/profile.h"
#include "nn/weight_gradients.h"
#include "ops/matmul/matmul.h"
#include "ops/quantize_rows/quantize_rows.h"

namespace fathom {

// Stored parts of the Parameter `p`, packed. Error that names `p` and `which` for a NaN among FP8 bytes or a scale of theirs
// that is not finite.
PackedMatrix pack_stored(const Parameter& p, const std::string& which, std::span<const WeightPart> parts,
                         const PackOptions& packing);
// A Parameter's published parts [begin, end), packed: as stored where it holds such, else `value` of rank 2, whole. Plain ones
// are quantised to packing.weights.
PackedMatrix pack_parts(const Parameter& p, int64_t begin, int64_t end, const PackOptions& packing);
// The same for parts at hand; `name` of the weight for the error where int8 activations want a format that these are not in.
PackedMatrix pack_quantised(const std::string& name, std::span<const WeightPart> parts, const PackOptions& packing);

// Rows that linear layers read: rounded to int8 once for each kind of weight, when the first of the kind wants it.
class LinearInput {
 public:
  LinearInput(const Tensor& x) : x_(x) {}  // NOLINT: a tensor is an input
  const Tensor& x() const { return x_; }
  int64_t rows() const { return x_.rows(); }
  const Int8Rows& int8(std::span<const PackedMatrix> weights) const;

 private:
  Tensor x_;
  mutable Int8Rows int8_;
};
// grouped_matmul_forward(), in int8 where the weights were packed for it.
void grouped_forward(const LinearInput& x, const GroupedRows& groups, const GroupedWeight& w, Compute compute, Tensor& y);

// Adds x^T x of a forward's rows to the gram of what multiplied them, where that has one: of a bank, by expert.
void add_input_gram(const Parameter& weight, const Tensor& x, Compute compute);
void add_input_gram(const Parameter& bank, const Tensor& x, const GroupedRows& groups, Compute compute);

class Linear {
 public:
  struct Part {
    std::string name;  // published, without ".weight"
    int64_t rows;      // output features
  };
  Linear(std::vector<Part> parts, int64_t in, bool bias = false);

  // y [T, out] F32 or BF16, assigned.
  void forward(const LinearInput& x, Compute compute, Tensor& y) const;
  // dx [T, in]: assigned, or += where `accumulate`.
  void backward_input(const Tensor& dy, Compute compute, bool accumulate, Tensor& dx) const;
  void backward_weight(const Tensor& dy, const Tensor& x, Compute compute, WeightGradients& queue);

  int64_t out() const { return weight.shape[0]; }
  int64_t in() const { return weight.shape[1]; }
  int64_t weight_bytes() const;  // that one forward reads: the packed copy, else the values; and the bias
  void prepack(const PackOptions& packing) {
    packed_ = pack_parts(weight, 0, static_cast<int64_t>(parts_.size()), packing);
    weight.stored.clear();
  }
  void drop_packed() { packed_ = PackedMatrix(); }
  void drop_values() { weight.value = Tensor(); }
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;

  Parameter weight, bias;  // bias.shape is empty where there is none

 private:
  ProfileWork product_work(const Tensor& rows) const {
    return {2.0 * static_cast<double>(rows.rows()) * static_cast<double>(weight.shape.numel()), 0};
  }
  bool has_bias() const { return bias.shape.rank() == 1; }
  std::vector<Part> parts_;
  std::string label_;  // for the profile: q_proj+k_proj+v_proj
  PackedMatrix packed_;
};

}  // namespace fathom
