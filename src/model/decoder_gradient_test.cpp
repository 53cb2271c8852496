// Gradients of the whole model by central differences: main loss, MTP loss and balance loss, entries of every parameter.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/decoder_testing.h"

namespace fathom {
namespace {

class DecoderGradient : public testing::TestWithParam<std::string> {};

TEST_P(DecoderGradient, CentralDifferences) {
  Decoder model = tiny_model(GetParam(), {Compute::kF32, MlaFormula::kExpanded}, 5);
  model.allocate_grads();
  Batch batch;
  batch.add(tiny_tokens(9, 11));
  batch.add(tiny_tokens(5, 12));
  batch.add(tiny_tokens(1, 13));
  auto targets = next_tokens(batch);
  targets[3] = -1;
  BackwardOptions options;
  options.main_token_weight = 0.7f;
  const bool mtp = model.config().num_nextn_predict_layers > 0, moe = model.config().n_routed_experts > 0;
  if (mtp) options.mtp_weight = 0.5f;
  if (moe) options.balance_alpha = 3.f, options.balance_scale = 0.5f;
  const double moe_layers = static_cast<double>(model.loads().size());
  // Coefficients that differ by row, as a policy gradient's do.
  const auto weight = [](int64_t row) { return -0.5f - 0.1f * static_cast<float>(row % 5); };
  const TokenObjective objective = [&](int64_t begin, std::span<const float> logp, std::span<float> c) {
    for (size_t i = 0; i < logp.size(); ++i) c[i] = weight(begin + static_cast<int64_t>(i));
  };
  // The loss, and where the tokens went: a difference across a change of experts says nothing.
  std::vector<int64_t> routing;
  const auto loss = [&] {
    model.reset_load();
    const BackwardResult r = model.forward_backward(batch, targets, objective, options);
    routing.clear();
    for (const auto& load : model.loads())
      routing.insert(routing.end(), load.counts.data<int64_t>(), load.counts.data<int64_t>() + load.counts.numel());
    double sum = 0;
    for (size_t t = 0; t < r.logp.size(); ++t) sum += weight(static_cast<int64_t>(t)) * r.logp[t];
    sum -= options.mtp_weight * options.main_token_weight * r.mtp_logp_sum;
    return sum + options.balance_scale * moe_layers * r.balance_loss;
  };
  loss();
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "hundreds of such steps would race as this one does";
#endif
  const std::vector<int64_t> home = routing;
  int checked = 0, skipped = 0;
  std::vector<Tensor> grads;
  for (Parameter* p : model.parameters()) grads.push_back(p->grad.defined() ? p->grad.clone() : Tensor());
  const auto parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!grads[i].defined()) continue;
    const float* g = grads[i].data<float>();
    // The largest entries (where the difference stands above rounding) and some others.
    std::vector<int64_t> order(grads[i].numel());
    std::iota(order.begin(), order.end(), 0);
    const int64_t top = std::min<int64_t>(3, grads[i].numel());
    std::partial_sort(order.begin(), order.begin() + top, order.end(),
                      [g](int64_t a, int64_t b) { return std::abs(g[a]) > std::abs(g[b]); });
    std::vector<int64_t> entries(order.begin(), order.begin() + top);
    Rng rng(3, RngStream::kTest, i);
    for (int k = 0; k < 2; ++k) entries.push_back(static_cast<int64_t>(rng.next_below(grads[i].numel())));
    const double scale = std::abs(g[entries[0]]);
    EXPECT_GT(scale, 1e-4) << parameters[i]->name << " has no gradient";
    for (const int64_t e : entries) {
      float& x = parameters[i]->value.data<float>()[e];
      const float x0 = x;
      bool moved = false;
      const auto at = [&](float h) {
        x = x0 + h;
        const double l = loss();
        x = x0;
        moved |= routing != home;
        return l;
      };
      const auto difference = [&](float h) { return (at(h) - at(-h)) / (2.0 * h); };
      double numeric = 0;
      for (float h : {4e-3f, 1e-3f}) {
        moved = false;
        numeric = (4 * difference(h) - difference(2 * h)) / 3;  // Richardson: error of order h^4
        if (!moved) break;
      }
      if (moved) {
        ++skipped;
        continue;
      }
      ++checked;
      EXPECT_NEAR(numeric, g[e], 0.01 * std::abs(g[e]) + 0.004 * scale + 1e-3) << parameters[i]->name << "[" << e << "]";
    }
  }
  EXPECT_LT(skipped, checked / 4);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DecoderGradient, testing::Values("v3", "v2lite", "qwen2", "qwen3", "llama"),
                         [](const auto& info) { return info.param; });

TEST(DecoderGradient, UntouchedExpertsAreExactlyZero) {
  Decoder model = tiny_model("v2lite", {Compute::kF32, MlaFormula::kExpanded}, 9);
  model.allocate_grads();
  for (Parameter* p : model.parameters())
    if (p->grad.defined()) std::fill_n(p->grad.data<float>(), p->grad.numel(), 7.f);  // must be assigned, not added to
  Batch batch;
  batch.add(tiny_tokens(2, 1));
  std::vector<int32_t> targets = {1, 2};
  const TokenObjective objective = [](int64_t, std::span<const float>, std::span<float> c) {
    std::fill(c.begin(), c.end(), -1.f);
  };
  model.reset_load();
  model.forward_backward(batch, targets, objective, {});
  int untouched = 0;
  for (const Decoder::LayerLoad& load : model.loads())
    for (int64_t e = 0; e < load.counts.numel(); ++e) {
      if (load.counts.data<int64_t>()[e] > 0) continue;
      ++untouched;
      for (const NamedTensor& t : model.named_tensors()) {
        if (!t.name.starts_with(load.layer + ".mlp.experts." + std::to_string(e) + ".")) continue;
        for (int64_t r = 0; r < t.grad.rows(); ++r)
          for (int64_t c = 0; c < t.grad.row_size(); ++c) ASSERT_EQ(t.grad.row<float>(r)[c], 0.f) << t.name;
      }
    }
  EXPECT_GT(untouched, 0);
}

TEST(Decoder, CorrectionBiasFollowsTheLoad) {
  Decoder model = tiny_model("v3", {Compute::kF32, MlaFormula::kExpanded}, 2);
  model.allocate_grads();
  Batch batch;
  batch.add(tiny_tokens(60, 1));
  const auto targets = next_tokens(batch);
  const TokenObjective objective = [](int64_t, std::span<const float>, std::span<float> c) {
    std::fill(c.begin(), c.end(), -1.f);
  };
  model.reset_load();
  BackwardOptions options;
  options.mtp_weight = 0.1f;
  model.token_log_probs(batch, targets);  // not a training forward: not counted
  model.forward_backward(batch, targets, objective, options);
  ASSERT_EQ(model.loads().size(), 3u);
  for (const auto& load : model.loads()) {
    int64_t sum = 0;
    for (int64_t e = 0; e < 8; ++e) sum += load.counts.data<int64_t>()[e];
    EXPECT_EQ(sum, 3 * (load.layer == "model.layers.3" ? 59 : 60)) << load.layer;
  }
  const auto& load = model.loads()[0];
  const Tensor before = load.bias->clone();
  model.update_bias(0.01f);
  for (int64_t e = 0; e < 8; ++e) {
    const double mean = 3 * 60 / 8.0, count = static_cast<double>(load.counts.data<int64_t>()[e]);
    const float step = count < mean ? 0.01f : count > mean ? -0.01f : 0.f;
    EXPECT_FLOAT_EQ(load.bias->data<float>()[e], before.data<float>()[e] + step);
  }
}

}  // namespace
}  // namespace fathom
