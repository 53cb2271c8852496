#include "ops/adamw/adamw_ref.h"

#include <cmath>

namespace fathom::reference {

void adamw(const AdamWStep& step, const std::vector<double>& grad, std::vector<double>& value, std::vector<double>& m,
           std::vector<double>& v) {
  for (size_t i = 0; i < value.size(); ++i) {
    const double g = grad[i] * step.grad_scale;
    value[i] -= step.lr * step.weight_decay * value[i];
    m[i] = step.beta1 * m[i] + (1 - step.beta1) * g;
    v[i] = step.beta2 * v[i] + (1 - step.beta2) * g * g;
    const double m_hat = m[i] / (1 - std::pow(step.beta1, static_cast<double>(step.step)));
    const double v_hat = v[i] / (1 - std::pow(step.beta2, static_cast<double>(step.step)));
    value[i] -= step.lr * m_hat / (std::sqrt(v_hat) + step.eps);
  }
}

}  // namespace fathom::reference
