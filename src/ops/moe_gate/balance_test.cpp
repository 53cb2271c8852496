// Load balancing in training.
#include <algorithm>

#include "kernels/op_testing.h"
#include "ops/moe_gate/moe_gate.h"
#include "ops/moe_gate/moe_gate_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;
using Method = MoeGateConfig::Method;
using Scoring = MoeGateConfig::Scoring;

Tensor counts_of(const std::vector<int64_t>& c) {
  Tensor t = Tensor::empty({static_cast<int64_t>(c.size())}, DType::kI64);
  std::copy(c.begin(), c.end(), t.data<int64_t>());
  return t;
}
Tensor route_ids(const MoeGateConfig& config, const Tensor& logits) {
  Tensor ids = Tensor::empty({logits.dim(0), config.top_k}, DType::kI32),
         weights = Tensor::empty({logits.dim(0), config.top_k}, DType::kF32);
  moe_gate_forward(config, logits, nullptr, ids, weights);
  return ids;
}

TEST(BalanceLoss, LossAndGradientMatchTheOracle) {
  for (Scoring scoring : {Scoring::kSigmoid, Scoring::kSoftmax})
    for (int experts : {16, 21}) {
      const MoeGateConfig config{Method::kGreedy, scoring, experts, 3, 1, 1, true, 2.5f};
      const int64_t rows = 20;
      const std::vector<int64_t> begins = {0, 4, 13, 20};
      const Tensor logits = strided(random_tensor({rows, experts}, DType::kF32, 1, 1.5f)), ids = route_ids(config, logits);
      const std::vector<int32_t> counted(ids.data<int32_t>(), ids.data<int32_t>() + ids.numel());
      const float alpha = 0.3f, grad_scale = 0.5f;
      Tensor d = strided(random_tensor({rows, experts}, DType::kF32, 2));
      auto want = values(d);
      const float loss = balance_loss(config, logits, ids, begins, alpha, grad_scale, &d);
      EXPECT_NEAR(loss, reference::balance_loss(config, values(logits), counted, begins, alpha), 1e-6);
      EXPECT_EQ(loss, balance_loss(config, logits, ids, begins, alpha, grad_scale, nullptr));
      const auto gradient = central_differences(values(logits), [&](const std::vector<double>& v) {
        return reference::balance_loss(config, v, counted, begins, alpha);
      });
      for (size_t i = 0; i < want.size(); ++i) want[i] += grad_scale * gradient[i];
      expect_near(values(d), want, 3e-7, "dlogits");  // added to values of size 3: one rounding of 2e-7
      Tensor small = Tensor::zeros({rows, experts}, DType::kF32);
      balance_loss(config, logits, ids, begins, alpha, 1.f, &small);
      expect_near(values(small), gradient, 1e-8, "dlogits by itself");  // of size 1e-2, some ten roundings
    }
}

// Perfectly even routing with equal scores: f_i = 1 and P_i = 1/E, so L = alpha. All to one expert with all the score: E alpha
// / K.
TEST(BalanceLoss, KnownValues) {
  const MoeGateConfig config{Method::kGreedy, Scoring::kSoftmax, 4, 1, 1, 1, true, 1.f};
  const Tensor logits = Tensor::zeros({4, 4}, DType::kF32);
  Tensor ids = Tensor::empty({4, 1}, DType::kI32);
  for (int t = 0; t < 4; ++t) ids.data<int32_t>()[t] = t;
  const std::vector<int64_t> begins = {0, 4};
  EXPECT_FLOAT_EQ(balance_loss(config, logits, ids, begins, 0.25f, 1.f, nullptr), 0.25f);
  Tensor sure = Tensor::zeros({4, 4}, DType::kF32);
  for (int t = 0; t < 4; ++t) sure.row<float>(t)[2] = 100.f, ids.data<int32_t>()[t] = 2;
  EXPECT_FLOAT_EQ(balance_loss(config, sure, ids, begins, 0.25f, 1.f, nullptr), 1.f);
}

TEST(BalanceLoss, EmptySequencesDoNotCount) {
  const MoeGateConfig config{Method::kGreedy, Scoring::kSigmoid, 8, 2, 1, 1, true, 1.f};
  const Tensor logits = random_tensor({5, 8}, DType::kF32, 1), ids = route_ids(config, logits);
  EXPECT_EQ(balance_loss(config, logits, ids, std::vector<int64_t>{0, 0, 5}, 1.f, 1.f, nullptr),
            balance_loss(config, logits, ids, std::vector<int64_t>{0, 5}, 1.f, 1.f, nullptr));
}

TEST(BalanceLoss, SameBitsEverywhere) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 64, 6, 8, 4, true, 2.5f};
  const Tensor logits = random_tensor({500, 64}, DType::kF32, 1), ids = route_ids(config, logits);
  expect_same_bits_everywhere([&] {
    Tensor d = Tensor::zeros({500, 64}, DType::kF32);
    const float loss = balance_loss(config, logits, ids, std::vector<int64_t>{0, 200, 500}, 1e-4f, 1.f, &d);
    return bytes_of(d) + std::string(reinterpret_cast<const char*>(&loss), sizeof loss);
  });
}

TEST(ExpertLoad, CountsAccumulate) {
  const MoeGateConfig config{Method::kGreedy, Scoring::kSigmoid, 8, 2, 1, 1, true, 1.f};
  const Tensor ids = route_ids(config, random_tensor({50, 8}, DType::kF32, 1));
  Tensor counts = counts_of({0, 0, 0, 0, 0, 0, 0, 0});
  count_expert_load(ids, counts);
  count_expert_load(ids, counts);
  int64_t total = 0;
  for (int e = 0; e < 8; ++e) {
    EXPECT_EQ(counts.data<int64_t>()[e], 2 * std::count(ids.data<int32_t>(), ids.data<int32_t>() + ids.numel(), e));
    total += counts.data<int64_t>()[e];
  }
  EXPECT_EQ(total, 200);
}

TEST(ExpertBias, MovesAgainstTheLoad) {
  Tensor bias = Tensor::zeros({4}, DType::kF32);
  update_expert_bias(counts_of({10, 0, 5, 5}), 0.001f, bias);
  EXPECT_EQ(values(bias), (std::vector<double>{-0.001f, 0.001f, 0, 0})) << "a load equal to the mean stays";
  update_expert_bias(counts_of({0, 0, 0, 1}), 0.5f, bias);  // the mean is a quarter
  expect_near(values(bias), {0.499, 0.501, 0.5, -0.5}, 1e-7, "bias");
}

TEST(MaxViolation, IsTheExcessOverTheMean) {
  EXPECT_FLOAT_EQ(max_violation(counts_of({4, 4, 4, 4})), 0.f);
  EXPECT_FLOAT_EQ(max_violation(counts_of({10, 0, 5, 5})), 1.f);
  EXPECT_FLOAT_EQ(max_violation(counts_of({7, 0, 0, 0})), 3.f);
  EXPECT_FLOAT_EQ(max_violation(counts_of({0, 0})), 0.f);
}

// The ablation in small (2408.15664): random skewed routers, the bias alone brings MaxVio down.
TEST(ExpertBias, BringsTheViolationDown) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 16, 2, 1, 1, true, 1.f};
  const Tensor skew = random_tensor({16}, DType::kF32, 1);
  Tensor bias = Tensor::zeros({16}, DType::kF32);
  float first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    Tensor logits = random_tensor({256, 16}, DType::kF32, 10 + step);
    for (int64_t i = 0; i < logits.numel(); ++i) logits.data<float>()[i] += skew.data<float>()[i % 16];
    Tensor ids = Tensor::empty({256, 2}, DType::kI32), weights = Tensor::empty({256, 2}, DType::kF32),
           counts = Tensor::zeros({16}, DType::kI64);
    moe_gate_forward(config, logits, &bias, ids, weights);
    count_expert_load(ids, counts);
    update_expert_bias(counts, 0.005f, bias);
    (step == 0 ? first : last) = max_violation(counts);
  }
  EXPECT_GT(first, 1.5f);
  EXPECT_LT(last, 0.6f);  // 32 tokens an expert: chance alone gives about 0.35
}

}  // namespace
}  // namespace fathom
