#include "ops/moe_gate/moe_gate_case.h"

#include "ops/moe_gate/moe_gate.h"

namespace fathom {

std::vector<OpCase> moe_gate_cases() {
  using Method = MoeGateConfig::Method;
  using Scoring = MoeGateConfig::Scoring;
  std::vector<OpCase> cases;
  for (const MoeGateConfig& config : {MoeGateConfig{Method::kNoauxTc, Scoring::kSigmoid, 16, 4, 4, 2, true, 2.5f},
                                      MoeGateConfig{Method::kGreedy, Scoring::kSoftmax, 64, 6, 1, 1, false, 1.f},
                                      MoeGateConfig{Method::kNoauxTc, Scoring::kSigmoid, 64, 6, 8, 4, true, 2.5f},
                                      MoeGateConfig{Method::kNoauxTc, Scoring::kSigmoid, 256, 8, 8, 4, true, 2.5f}})
    for (int64_t rows : {1, 8192}) {
      const int64_t experts = config.num_experts, k = config.top_k;
      const double n = static_cast<double>(rows * experts), chosen = static_cast<double>(rows * k);
      const std::string types = "top-" + std::to_string(k) + (config.scoring == Scoring::kSigmoid ? " sigmoid" : " softmax");
      cases.push_back({case_shape("moe_gate forward", {rows, experts}, types.c_str()), 20 * n, 4 * n + 8 * chosen, [=] {
                         const Tensor logits = case_tensor({rows, experts}, DType::kF32),
                                      bias = case_tensor({experts}, DType::kF32, 2, 0.1f);
                         return [=, ids = Tensor::empty({rows, k}, DType::kI32),
                                 weights = Tensor::empty({rows, k}, DType::kF32)]() mutable {
                           moe_gate_forward(config, logits, &bias, ids, weights);
                         };
                       }});
      if (rows == 1) continue;
      cases.push_back(
          {case_shape("moe_gate backward", {rows, experts}, types.c_str()), 24 * n, 8 * n + 12 * chosen, [=] {
             const Tensor logits = case_tensor({rows, experts}, DType::kF32), dweights = case_tensor({rows, k}, DType::kF32, 2);
             Tensor ids = Tensor::empty({rows, k}, DType::kI32), weights = Tensor::empty({rows, k}, DType::kF32);
             moe_gate_forward(config, logits, nullptr, ids, weights);
             return [=, d = Tensor::empty({rows, experts}, DType::kF32)]() mutable {
               moe_gate_backward(config, logits, ids, weights, dweights, d);
             };
           }});
      cases.push_back(
          {case_shape("balance_loss with gradient", {rows, experts}, types.c_str()), 24 * n, 12 * n + 4 * chosen, [=] {
             const Tensor logits = case_tensor({rows, experts}, DType::kF32);
             Tensor ids = Tensor::empty({rows, k}, DType::kI32), weights = Tensor::empty({rows, k}, DType::kF32);
             moe_gate_forward(config, logits, nullptr, ids, weights);
             std::vector<int64_t> begins;
             for (int64_t t = 0; t <= rows; t += 256) begins.push_back(t);
             return [=, d = Tensor::zeros({rows, experts}, DType::kF32)]() mutable {
               balance_loss(config, logits, ids, begins, 1e-4f, 1e-6f, &d);
             };
           }});
    }
  return cases;
}

}  // namespace fathom
