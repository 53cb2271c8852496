#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fathom {
namespace {

Parameter make(const char* name, std::initializer_list<float> value, std::initializer_list<float> grad, bool decay) {
  Parameter p;
  p.name = name;
  p.decay = decay;
  const auto fill = [](std::initializer_list<float> from) {
    Tensor t = Tensor::empty({static_cast<int64_t>(from.size())}, DType::kF32);
    std::copy(from.begin(), from.end(), t.data<float>());
    return t;
  };
  p.value = fill(value), p.grad = fill(grad);
  return p;
}

TEST(AdamW, TwoStepsByHand) {
  // g = (3, 4), norm 5, clip 1: g' = (0.6, 0.8) up to the 1e-6; one tensor decays, the other does not.
  Parameter a = make("a.weight", {1.f}, {3.f}, true), b = make("b.norm", {2.f}, {4.f}, false);
  AdamWConfig config;
  config.weight_decay = 0.5;
  AdamW optimizer({&a, &b}, config);
  AdamW::Result r = optimizer.step(0.1);
  EXPECT_TRUE(r.finite);
  EXPECT_NEAR(r.grad_norm, 5, 1e-12);
  EXPECT_NEAR(r.clip_scale, 1 / (5 + 1e-6), 1e-12);
  // The first step moves by lr * sign(g), whatever the size: m_hat = g, sqrt(v_hat) = |g|.
  EXPECT_NEAR(a.value.data<float>()[0], 1 - 0.1 * 0.5 * 1 - 0.1, 1e-6);
  EXPECT_NEAR(b.value.data<float>()[0], 2 - 0.1, 1e-6);
  // Second step, gradients (0, 0.5), norm 0.5: not clipped.
  a.grad.data<float>()[0] = 0, b.grad.data<float>()[0] = 0.5f;
  r = optimizer.step(0.1);
  EXPECT_NEAR(r.grad_norm, 0.5, 1e-12);
  EXPECT_EQ(r.clip_scale, 1);
  const double g1 = 0.8 / (1 + 2e-7), m = 0.9 * 0.1 * g1 + 0.1 * 0.5, v = 0.95 * 0.05 * g1 * g1 + 0.05 * 0.25;
  const double expected_b = 1.9 - 0.1 * (m / (1 - 0.81)) / (std::sqrt(v / (1 - 0.95 * 0.95)) + 1e-8);
  EXPECT_NEAR(b.value.data<float>()[0], expected_b, 2e-6);
  const double ga = 0.6 / (1 + 2e-7), ma = 0.9 * 0.1 * ga, va = 0.95 * 0.05 * ga * ga;
  EXPECT_NEAR(a.value.data<float>()[0], 0.85 - 0.1 * 0.5 * 0.85 - 0.1 * (ma / 0.19) / (std::sqrt(va / 0.0975) + 1e-8), 2e-6);
  EXPECT_EQ(optimizer.steps_done(), 2);
}

TEST(AdamW, GradScaleCountsInTheNorm) {
  Parameter a = make("a", {0.f, 0.f}, {6.f, 8.f}, false);
  AdamWConfig config;
  config.clip_norm = 0;
  AdamW optimizer({&a}, config);
  const AdamW::Result r = optimizer.step(0.1, 0.5);
  EXPECT_NEAR(r.grad_norm, 5, 1e-12);
  EXPECT_EQ(r.clip_scale, 1);
}

TEST(AdamW, NotFiniteChangesNothing) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Parameter a = make("a", {1.f}, {0.5f}, true), b = make("b", {1.f, 2.f}, {0.f, bad}, true);
    AdamW optimizer({&a, &b}, {});
    const AdamW::Result r = optimizer.step(0.1);
    EXPECT_FALSE(r.finite);
    EXPECT_EQ(r.bad_parameter, "b");
    EXPECT_EQ(a.value.data<float>()[0], 1.f);
    EXPECT_EQ(b.value.data<float>()[1], 2.f);
    EXPECT_EQ(optimizer.steps_done(), 0);
    for (const auto& [name, tensor] : optimizer.state())
      for (int64_t i = 0; i < tensor.numel(); ++i) EXPECT_EQ(tensor.data<float>()[i], 0.f) << name;
  }
}

TEST(AdamW, LeavesUntrainableAlone) {
  Parameter a = make("a", {1.f}, {0.5f}, true), bias = make("e_score_correction_bias", {3.f}, {}, false);
  bias.trainable = false;
  AdamW optimizer({&a, &bias}, {});
  optimizer.step(0.1);
  EXPECT_EQ(bias.value.data<float>()[0], 3.f);
  EXPECT_EQ(optimizer.state().size(), 2u);
  EXPECT_EQ(optimizer.state()[0].first, "m.a");
}

TEST(AdamW, Bf16Moments) {
  Parameter a = make("a", {1.f}, {0.25f}, false);
  AdamWConfig config;
  config.moments = "bf16";
  AdamW optimizer({&a}, config);
  optimizer.step(0.1);
  EXPECT_EQ(optimizer.state()[0].second.dtype(), DType::kBF16);
  EXPECT_NEAR(a.value.data<float>()[0], 0.9, 1e-3);
}

}  // namespace
}  // namespace fathom
