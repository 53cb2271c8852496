#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "ops/adamw/adamw.h"

namespace fathom {

AdamW::AdamW(std::vector<Parameter*> parameters, const AdamWConfig& config) : config_(config) {
  const DType dtype = config.moments == "bf16" ? DType::kBF16 : DType::kF32;
  for (Parameter* p : parameters) {
    if (!p->trainable) continue;
    CHECK(p->value.dtype() == DType::kF32 && p->value.contiguous());
    parameters_.push_back(p);
    m_.push_back(Tensor::zeros(p->value.shape(), dtype));
    v_.push_back(Tensor::zeros(p->value.shape(), dtype));
  }
}

AdamW::Result AdamW::step(double lr, double grad_scale) {
  Result result;
  double sum = 0;  // in parameter order: the same bits for any thread count
  for (Parameter* p : parameters_) {
    CHECK(p->grad.defined() && p->grad.shape() == p->value.shape());
    const double squares = sum_of_squares(p->grad);
    if (!std::isfinite(squares) && result.finite) {
      result.finite = false;
      result.bad_parameter = p->name;
    }
    sum += squares;
  }
  result.grad_norm = std::sqrt(sum) * std::abs(grad_scale);
  if (!result.finite) return result;
  if (config_.clip_norm > 0) result.clip_scale = std::min(1.0, config_.clip_norm / (result.grad_norm + 1e-6));
  ++steps_;
  AdamWStep step;
  step.lr = static_cast<float>(lr);
  step.beta1 = static_cast<float>(config_.beta1);
  step.beta2 = static_cast<float>(config_.beta2);
  step.eps = static_cast<float>(config_.eps);
  step.step = steps_;
  step.grad_scale = static_cast<float>(grad_scale * result.clip_scale);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    step.weight_decay = parameters_[i]->decay ? static_cast<float>(config_.weight_decay) : 0.f;
    adamw_update(step, parameters_[i]->grad, parameters_[i]->value, m_[i], v_[i]);
  }
  return result;
}

std::vector<std::pair<std::string, Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    out.emplace_back("m." + parameters_[i]->name, m_[i]);
    out.emplace_back("v." + parameters_[i]->name, v_[i]);
  }
  return out;
}

}  // namespace fathom
