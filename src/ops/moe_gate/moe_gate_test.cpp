#include "ops/moe_gate/moe_gate.h"

#include <algorithm>

#include "kernels/op_testing.h"
#include "ops/moe_gate/moe_gate_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;
using Method = MoeGateConfig::Method;
using Scoring = MoeGateConfig::Scoring;

std::vector<int32_t> id_values(const Tensor& ids) { return {ids.data<int32_t>(), ids.data<int32_t>() + ids.numel()}; }

struct Routed {
  Tensor ids, weights;
};
Routed route(const MoeGateConfig& config, const Tensor& logits, const Tensor* bias) {
  Routed r{Tensor::empty({logits.dim(0), config.top_k}, DType::kI32),
           Tensor::empty({logits.dim(0), config.top_k}, DType::kF32)};
  moe_gate_forward(config, logits, bias, r.ids, r.weights);
  return r;
}

// DeepSeek-V3, V2-Lite, V2 and shapes that are not whole groups of 16.
std::vector<MoeGateConfig> configs() {
  return {{Method::kNoauxTc, Scoring::kSigmoid, 256, 8, 8, 4, true, 2.5f},
          {Method::kNoauxTc, Scoring::kSigmoid, 16, 4, 4, 2, true, 2.5f},
          {Method::kNoauxTc, Scoring::kSigmoid, 21, 3, 1, 1, false, 1.f},
          {Method::kGreedy, Scoring::kSoftmax, 64, 6, 1, 1, false, 1.f},
          {Method::kGroupLimitedGreedy, Scoring::kSoftmax, 160, 6, 8, 3, false, 16.f},
          {Method::kGreedy, Scoring::kSoftmax, 20, 5, 1, 1, true, 1.f},
          {Method::kNoauxTc, Scoring::kSoftmax, 12, 2, 3, 2, true, 1.f},
          {Method::kGreedy, Scoring::kSigmoid, 1, 1, 1, 1, true, 1.f},
          {Method::kGreedy, Scoring::kSigmoid, 40, 20, 1, 1, true, 1.f}};
}

// architecture.md §1.4: groups {2, 1} are kept; expert 7 has the highest score and is not chosen.
TEST(MoeGate, GoldenExample) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 8, 3, 4, 2, true, 2.5f};
  float logits[] = {0.2f, -1, 1.5f, 0.1f, -0.3f, 0.9f, 0, 2}, bias[] = {0, .3f, -.2f, 0, .4f, 0, .1f, -.5f};
  const Tensor b = Tensor::wrap(bias, {8}, DType::kF32);
  const Routed r = route(config, Tensor::wrap(logits, {1, 8}, DType::kF32), &b);
  EXPECT_EQ(id_values(r.ids), (std::vector<int32_t>{2, 4, 5}));
  expect_near(values(r.weights), {1.045983, 0.544447, 0.909570}, 1e-6, "weights");
}

TEST(MoeGate, MatchesTheOracle) {
  int changed_by_bias = 0;
  for (const MoeGateConfig& config : configs()) {
    const Tensor logits = strided(random_tensor({60, config.num_experts}, DType::kF32, config.num_experts, 1.5f));
    const Tensor bias = random_tensor({config.num_experts}, DType::kF32, 3, 0.2f);
    for (bool biased : {false, true}) {
      const Routed r = route(config, logits, biased ? &bias : nullptr);
      const auto want = reference::gate_ids(config, values(logits), biased ? values(bias) : std::vector<double>{});
      EXPECT_EQ(id_values(r.ids), want);
      if (biased) changed_by_bias += want != reference::gate_ids(config, values(logits), {});
      // Scores have 3 roundings and exp's 2 ulp, the quotient and product two more.
      expect_near(values(r.weights), reference::gate_weights(config, values(logits), want),
                  1e-6 * std::max(1.f, config.routed_scaling_factor), "weights");
    }
  }
  EXPECT_GE(changed_by_bias, 5);
}

TEST(MoeGate, TiesGoToTheLowerIndex) {
  for (Scoring scoring : {Scoring::kSigmoid, Scoring::kSoftmax}) {
    const Tensor logits = Tensor::zeros({2, 16}, DType::kF32);
    const MoeGateConfig grouped{Method::kNoauxTc, scoring, 16, 5, 4, 2, true, 1.f};
    EXPECT_EQ(id_values(route(grouped, logits, nullptr).ids), (std::vector<int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
    const MoeGateConfig greedy{Method::kGreedy, scoring, 16, 2, 1, 1, true, 1.f};
    EXPECT_EQ(id_values(route(greedy, logits, nullptr).ids), (std::vector<int32_t>{0, 1, 0, 1}));
  }
}

// Biases so low that every biased score is negative: an expert of a masked group must not win with 0.
TEST(MoeGate, MaskedGroupsLoseToNegativeScores) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 8, 4, 4, 2, true, 1.f};
  const Tensor logits = random_tensor({50, 8}, DType::kF32, 1), bias = random_tensor({8}, DType::kF32, 2, 0.1f, -3.f);
  const auto ids = id_values(route(config, logits, &bias).ids);
  EXPECT_EQ(ids, reference::gate_ids(config, values(logits), values(bias)));
  for (size_t i = 0; i < ids.size(); i += 4)
    EXPECT_TRUE(ids[i] / 2 == ids[i + 1] / 2 && ids[i + 2] / 2 == ids[i + 3] / 2) << "two whole groups";
}

TEST(MoeGate, V2TakesTheLargestOfAGroup) {
  // Group 0 has the best pair, group 1 the best single expert.
  float logits[] = {2.f, 1.9f, 2.1f, -5.f};
  const Tensor x = Tensor::wrap(logits, {1, 4}, DType::kF32);
  EXPECT_EQ(id_values(route({Method::kGroupLimitedGreedy, Scoring::kSoftmax, 4, 1, 2, 1, false, 1.f}, x, nullptr).ids),
            (std::vector<int32_t>{2}));
  EXPECT_EQ(id_values(route({Method::kNoauxTc, Scoring::kSoftmax, 4, 1, 2, 1, false, 1.f}, x, nullptr).ids),
            (std::vector<int32_t>{0}));
}

TEST(MoeGate, VanishingScoresStayFinite) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 16, 4, 1, 1, true, 2.5f};
  Tensor logits = Tensor::zeros({1, 16}, DType::kF32);
  for (int i = 0; i < 16; ++i) logits.data<float>()[i] = -200.f;
  const Routed r = route(config, logits, nullptr);
  Tensor d = Tensor::empty({1, 16}, DType::kF32);
  moe_gate_backward(config, logits, r.ids, r.weights, random_tensor({1, 4}, DType::kF32, 1), d);
  for (double w : values(r.weights)) EXPECT_TRUE(std::isfinite(w));
  for (double w : values(d)) EXPECT_TRUE(std::isfinite(w));
}

// A broken row still gives different experts in range; its weights carry the NaN on.
TEST(MoeGate, NanLogitsGiveValidIds) {
  const MoeGateConfig config{Method::kNoauxTc, Scoring::kSigmoid, 16, 6, 4, 2, true, 2.5f};
  Tensor logits = random_tensor({2, 16}, DType::kF32, 1);
  for (int i = 0; i < 16; ++i) logits.row<float>(0)[i] = std::nanf("");
  for (int i = 0; i < 14; ++i) logits.row<float>(1)[i] = std::nanf("");
  const Routed r = route(config, logits, nullptr);
  for (int64_t t : {0, 1})
    for (int j = 0; j < 6; ++j) {
      const int32_t id = r.ids.row<int32_t>(t)[j];
      EXPECT_TRUE(id >= 0 && id < 16 && (j == 0 || r.ids.row<int32_t>(t)[j - 1] < id));
    }
  EXPECT_TRUE(std::isnan(r.weights.row<float>(0)[0]));
}

TEST(MoeGateDeathTest, MoreThanTheKeptGroupsHold) {
  const Tensor logits = Tensor::zeros({1, 8}, DType::kF32);
  EXPECT_DEATH(route({Method::kNoauxTc, Scoring::kSigmoid, 8, 5, 2, 1, true, 1.f}, logits, nullptr), "top_k <= left");
}

TEST(MoeGate, BackwardMatchesCentralDifferences) {
  for (const MoeGateConfig& config : configs()) {
    if (config.num_experts > 64) continue;  // the differences cost experts^2; one large one below
    const int64_t rows = 6;
    const Tensor logits = strided(random_tensor({rows, config.num_experts}, DType::kF32, 7)),
                 dweights = random_tensor({rows, config.top_k}, DType::kF32, 8);
    const Tensor bias = random_tensor({config.num_experts}, DType::kF32, 3, 0.2f);
    const Routed r = route(config, logits, &bias);
    Tensor d = strided(random_tensor({rows, config.num_experts}, DType::kF32, 9));
    moe_gate_backward(config, logits, r.ids, r.weights, dweights, d);
    const auto want = central_differences(values(logits), [&](const std::vector<double>& v) {
      return dot(reference::gate_weights(config, v, id_values(r.ids)), values(dweights));
    });
    expect_near(values(d), want, 2e-6 * std::max(1.f, config.routed_scaling_factor), "dlogits");
  }
  const MoeGateConfig v2{Method::kGroupLimitedGreedy, Scoring::kSoftmax, 160, 6, 8, 3, false, 16.f};
  const Tensor logits = random_tensor({1, 160}, DType::kF32, 7), dweights = random_tensor({1, 6}, DType::kF32, 8);
  const Routed r = route(v2, logits, nullptr);
  Tensor d = Tensor::empty({1, 160}, DType::kF32);
  moe_gate_backward(v2, logits, r.ids, r.weights, dweights, d);
  const auto want = central_differences(values(logits), [&](const std::vector<double>& v) {
    return dot(reference::gate_weights(v2, v, id_values(r.ids)), values(dweights));
  });
  expect_near(values(d), want, 2e-6 * 16, "dlogits of V2");
}

TEST(MoeGate, BitsDependOnTheRowAlone) {
  for (const MoeGateConfig& config : configs()) {
    const int64_t rows = 257;
    const Tensor logits = random_tensor({rows, config.num_experts}, DType::kF32, 1, 2.f),
                 dweights = random_tensor({rows, config.top_k}, DType::kF32, 8);
    expect_same_bits_everywhere([&] {
      const Routed r = route(config, logits, nullptr);
      Tensor d = Tensor::empty({rows, config.num_experts}, DType::kF32);
      moe_gate_backward(config, logits, r.ids, r.weights, dweights, d);
      for (int64_t t : {0, 77, 256}) {
        const Routed one = route(config, logits.slice_rows(t, t + 1), nullptr);
        EXPECT_EQ(bytes_of(one.ids), bytes_of(r.ids.slice_rows(t, t + 1)));
        EXPECT_EQ(bytes_of(one.weights), bytes_of(r.weights.slice_rows(t, t + 1)));
      }
      return bytes_of(r.ids) + bytes_of(r.weights) + bytes_of(d);
    });
  }
}

}  // namespace
}  // namespace fathom
