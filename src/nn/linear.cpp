#include "nn/linear.h"

#include <utility>

#include "base/error.h"
#include "kernels/matmul/quantize_part.h"

namespace fathom {

PackedMatrix pack_stored(const Parameter& p, const std::string& which, std::span<const WeightPart> parts,
                         const PackOptions& packing) {
  PackedMatrix packed = pack_quantised(p.name, parts, packing);
  if (packed.has_nan())
    fail_usage("checkpoint",
               which + " of '" + p.name +
                   "' holds a NaN, or a scale (weight_scale_inv in FP8) that is not finite; is the file damaged?");
  return packed;
}

namespace {

void check_int8(const std::string& name, WeightFormat format) {
  if (takes_int8(format)) return;
  std::string list;
  for (int i = 0; i < kWeightFormats; ++i)
    if (takes_int8(static_cast<WeightFormat>(i)))
      list += (list.empty() ? "" : ", ") + std::string(weight_format_name(static_cast<WeightFormat>(i)));
  fail_usage("weights",
             "--activations int8 multiplies weights in " + list + "; '" + name + "' is " +
                 std::string(weight_format_name(format)) +
                 (format == WeightFormat::kPlain ? ": quantise plain weights while loading (--weights int8), or leave "
                                                   "--activations 16bit"
                                                 : ": leave --activations 16bit for this file"));
}

}  // namespace

PackedMatrix pack_quantised(const std::string& name, std::span<const WeightPart> parts, const PackOptions& packing) {
  const auto pack = [&] {
    std::vector<WeightPart> quantised;
    for (const WeightPart& part : parts)
      quantised.push_back(part.format() == WeightFormat::kPlain ? quantize_part(part, packing.weights) : part);
    if (packing.activations == Activations::kInt8)
      for (const WeightPart& part : quantised) check_int8(name, part.format());
    return PackedMatrix::pack(quantised, packing.compute, packing.activations);
  };
  return packing.store ? packing.store->next(parts, pack) : pack();
}

PackedMatrix pack_parts(const Parameter& p, int64_t begin, int64_t end, const PackOptions& packing) {
  if (p.stored.empty()) {
    WeightPart whole;
    whole.values = p.value;
    return pack_quantised(p.name, {&whole, 1}, packing);
  }
  return pack_stored(p, "part " + std::to_string(begin),
                     std::span(p.stored).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), packing);
}

Linear::Linear(std::vector<Part> parts, int64_t in, bool with_bias) : parts_(std::move(parts)) {
  int64_t out = 0;
  for (const Part& part : parts_) {
    out += part.rows;
    label_ += (label_.empty() ? "" : "+") + part.name.substr(part.name.rfind('.') + 1);
  }
  weight.name = parts_[0].name + ".weight";
  weight.shape = {out, in};
  weight.decay = true;
  if (with_bias) {
    bias.name = parts_[0].name + ".bias";
    bias.shape = {out};
    bias.always_f32 = true;
  }
}

const Int8Rows& LinearInput::int8(std::span<const PackedMatrix> weights) const {
  int8_.rows = x_.rows(), int8_.k = x_.dim(1);
  for (const PackedMatrix& w : weights)
    for (const PackedMatrix::Piece& piece : w.pieces())
      if (Tensor& codes = int8_.codes(piece.format); !codes.defined())
        codes = quantize_rows(x_, int8_layout(piece.format).group);
  return int8_;
}

void grouped_forward(const LinearInput& x, const GroupedRows& groups, const GroupedWeight& w, Compute compute, Tensor& y) {
  if (w.packed && w.packed[0].activations() == Activations::kInt8)
    grouped_matmul_forward(x.int8({w.packed, groups.offsets.size() - 1}), groups, w.packed, y);
  else
    grouped_matmul_forward(x.x(), groups, w, compute, y);
}

void add_input_gram(const Parameter& weight, const Tensor& x, Compute compute) {
  if (Tensor gram = weight.input_gram; gram.defined()) matmul_backward_weight(x, x, compute, /*accumulate=*/true, gram);
}
void add_input_gram(const Parameter& bank, const Tensor& x, const GroupedRows& groups, Compute compute) {
  if (Tensor gram = bank.input_gram; gram.defined())
    grouped_matmul_backward_weight(x, x, {groups.offsets, groups.rows, groups.rows}, compute, /*accumulate=*/true, gram);
}

void Linear::forward(const LinearInput& x, Compute compute, Tensor& y) const {
  ProfileScope scope(label_.c_str(), {product_work(x.x()).flops, static_cast<double>(weight_bytes())});
  const Tensor* const added = has_bias() ? &bias.value : nullptr;
  add_input_gram(weight, x.x(), compute);
  if (packed_.defined() && packed_.activations() == Activations::kInt8)
    matmul_forward(x.int8({&packed_, 1}), packed_, added, y);
  else
    matmul_forward(x.x(), {weight.value, packed_.defined() ? &packed_ : nullptr}, added, compute, y);
}

void Linear::backward_input(const Tensor& dy, Compute compute, bool accumulate, Tensor& dx) const {
  ProfileScope scope("backward.input", product_work(dy));
  matmul_backward_input(dy, {weight.value, nullptr}, compute, accumulate, dx);
}

void Linear::backward_weight(const Tensor& dy, const Tensor& x, Compute compute, WeightGradients& queue) {
  queue.run([this, dy, x, compute] {
    ProfileScope scope("backward.weight", product_work(dy));
    matmul_backward_weight(dy, x, compute, weight.accumulate(), weight.grad);
    if (has_bias()) bias_backward(dy, bias.accumulate(), bias.grad);
  });
}

int64_t Linear::weight_bytes() const {
  const int64_t values = weight.value.defined() ? weight.value.bytes() : 0;
  return (packed_.defined() ? packed_.bytes() : values) + (has_bias() ? bias.value.bytes() : 0);
}

void Linear::collect(std::vector<Parameter*>& parameters) {
  parameters.push_back(&weight);
  if (has_bias()) parameters.push_back(&bias);
}

void Linear::collect_named(std::vector<NamedTensor>& tensors) const {
  int64_t begin = 0, index = 0;
  for (const Part& part : parts_) {
    tensors.push_back(named_rows(weight, part.name + ".weight", begin, begin + part.rows));
    tensors.back().owner = &weight;
    tensors.back().part = index++;
    if (has_bias()) tensors.push_back(named_rows(bias, part.name + ".bias", begin, begin + part.rows));
    begin += part.rows;
  }
}

}  // namespace fathom
