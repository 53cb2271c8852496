#include "nn/moe_gate_layer.h"

#include <algorithm>

#include "nn/profile.h"

namespace fathom {
namespace {

constexpr int64_t kRows = 256;  // rows of f32 norm output at a time: it stays in the cache

// fn(rows [begin, end), x in f32): the activation itself, or recomputed piece by piece.
template <class Fn>
void for_f32_rows(const NormedRows& in, Fn&& fn) {
  const int64_t rows = in.x.rows();
  if (in.x.dtype() == DType::kF32) return fn(0, rows, in.x);
  Tensor buffer = Tensor::empty({std::min(rows, kRows), in.x.dim(1)}, DType::kF32);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = std::min(rows, begin + kRows);
    Tensor x = buffer.slice_rows(0, end - begin);
    in.norm->recompute(in.residual.slice_rows(begin, end), in.rstd.slice_rows(begin, end), x);
    fn(begin, end, x);
  }
}

}  // namespace

MoeGate::MoeGate(const std::string& prefix, int64_t hidden, const MoeGateConfig& config)
    : config_(config), weight_({{prefix, config.num_experts}}, hidden) {
  weight_.weight.always_f32 = true;
  if (config.method == MoeGateConfig::Method::kNoauxTc) {
    bias.name = prefix + ".e_score_correction_bias";
    bias.shape = {config.num_experts};
    bias.always_f32 = true;
    bias.trainable = false;
  }
}

MoeGate::Choice MoeGate::forward(const NormedRows& in) const {
  ProfileScope scope("forward.router");
  const int64_t rows = in.x.rows();
  Choice c;
  c.logits = Tensor::empty({rows, config_.num_experts}, DType::kF32);
  c.ids = Tensor::empty({rows, config_.top_k}, DType::kI32);
  c.weights = Tensor::empty({rows, config_.top_k}, DType::kF32);
  for_f32_rows(in, [&](int64_t begin, int64_t end, const Tensor& x) {
    Tensor logits = c.logits.slice_rows(begin, end);
    weight_.forward(x, Compute::kF32, logits);
  });
  moe_gate_forward(config_, c.logits, bias.shape.rank() ? &bias.value : nullptr, c.ids, c.weights);
  return c;
}

void MoeGate::backward(const ForwardContext& context, const Choice& c, const NormedRows& in, const Tensor& dweights, Tensor& dx,
                       WeightGradients& queue) {
  ProfileScope scope("backward.router");
  Tensor dlogits = Tensor::empty(c.logits.shape(), DType::kF32);
  moe_gate_backward(config_, c.logits, c.ids, c.weights, dweights, dlogits);
  if (TrainingTerms* terms = context.training; terms && terms->balance_alpha > 0) {
    terms->balance_sum +=
        balance_loss(config_, c.logits, c.ids, context.batch->begins, terms->balance_alpha, terms->balance_scale, &dlogits);
    ++terms->balance_layers;
  }
  weight_.backward_input(dlogits, Compute::kF32, true, dx);
  queue.run([this, dlogits, in] {
    WeightGradients now;
    for_f32_rows(in, [&](int64_t begin, int64_t end, const Tensor& x) {
      weight_.backward_weight(dlogits.slice_rows(begin, end), x, Compute::kF32, now);
    });
  });
}

void MoeGate::collect(std::vector<Parameter*>& parameters) {
  weight_.collect(parameters);
  if (bias.shape.rank()) parameters.push_back(&bias);
}
void MoeGate::collect_named(std::vector<NamedTensor>& tensors) const {
  weight_.collect_named(tensors);
  if (bias.shape.rank()) tensors.push_back(named_whole(bias));
}

}  // namespace fathom
