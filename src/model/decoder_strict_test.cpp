// Strict numerics of the whole model, by memcmp: the bits of a row depend on the tokens before it and the weights alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "model/decoder_testing.h"

namespace fathom {
namespace {

struct Case {
  std::string kind;
  Numerics numerics;
};
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.kind + (info.param.numerics.compute == Compute::kF32 ? "_f32" : "_bf16") +
         (info.param.numerics.mla == MlaFormula::kExpanded ? "_expanded" : "_absorbed") +
         (info.param.numerics.cache == KvType::kPlain ? "" : "_cache_" + std::string(kv_type_name(info.param.numerics.cache)));
}
std::vector<Case> cases() {
  std::vector<Case> list;
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    for (const std::string kind : {"v3", "v2lite", "qwen2", "qwen3", "llama"})
      list.push_back({kind, {compute, MlaFormula::kExpanded}});
    for (const std::string kind : {"v3", "v2lite"}) list.push_back({kind, {compute, MlaFormula::kAbsorbed}});
    for (const KvType type : {KvType::kInt8, KvType::kFp8}) {
      list.push_back({"v3", {compute, MlaFormula::kAbsorbed, WeightFormat::kPlain, type}});
      list.push_back({"v2lite", {compute, MlaFormula::kExpanded, WeightFormat::kPlain, type}});
      list.push_back({"qwen3", {compute, MlaFormula::kExpanded, WeightFormat::kPlain, type}});
    }
  }
  return list;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.contiguous() && b.contiguous() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}
Batch batch_of(const std::vector<std::vector<int32_t>>& sequences) {
  Batch batch;
  for (const auto& s : sequences) batch.add(s);
  return batch;
}

class DecoderStrict : public testing::TestWithParam<Case> {
 protected:
  void TearDown() override { set_num_threads(2); }
};

TEST_P(DecoderStrict, PrefixBatchAndThreads) {
  Decoder model = tiny_model(GetParam().kind, GetParam().numerics);
  const auto a = tiny_tokens(150, 1), b = tiny_tokens(33, 2), c = tiny_tokens(1, 3);
  const Tensor whole = model.forward(batch_of({a}), nullptr);
  const Tensor whole_logits = model.logits(whole);
  for (const int64_t n : {1, 5, 64, 65, 149}) {
    const Tensor prefix = model.forward(batch_of({std::vector<int32_t>(a.begin(), a.begin() + n)}), nullptr);
    EXPECT_TRUE(same_bits(prefix, whole.slice_rows(0, n))) << n;
    EXPECT_TRUE(same_bits(model.logits(prefix), whole_logits.slice_rows(0, n))) << n;
  }
  const Tensor mixed = model.forward(batch_of({b, a, c}), nullptr);
  EXPECT_TRUE(same_bits(mixed.slice_rows(33, 183), whole));
  EXPECT_TRUE(same_bits(mixed.slice_rows(0, 33), model.forward(batch_of({b}), nullptr)));
  EXPECT_TRUE(same_bits(mixed.slice_rows(183, 184), model.forward(batch_of({c}), nullptr)));
  set_num_threads(1);
  EXPECT_TRUE(same_bits(model.forward(batch_of({b, a, c}), nullptr), mixed));
  set_num_threads(2);
  model.prepack();
  EXPECT_TRUE(same_bits(model.forward(batch_of({b, a, c}), nullptr), mixed));
  EXPECT_TRUE(same_bits(model.logits(whole), whole_logits));
  model.drop_packed();
  EXPECT_TRUE(same_bits(model.forward(batch_of({b, a, c}), nullptr), mixed));
}

// Chunked prefill and single decode steps over a paged cache, two sequences side by side with blocks out of order.
TEST_P(DecoderStrict, CacheEqualsWholeSequence) {
  Decoder model = tiny_model(GetParam().kind, GetParam().numerics);
  const auto a = tiny_tokens(150, 4), b = tiny_tokens(90, 5);
  const Tensor whole_a = model.forward(batch_of({a}), nullptr), whole_b = model.forward(batch_of({b}), nullptr);
  KvCache cache(model.num_cache_layers(), model.cache_row_bytes(), 6);
  const std::vector<int32_t> blocks_a = {4, 0, 3}, blocks_b = {5, 1};
  int64_t done_a = 0, done_b = 0;
  const auto step = [&](int64_t rows_a, int64_t rows_b) {
    Batch batch;
    KvView view{&cache, {}};
    if (rows_a > 0) {
      batch.add(std::span(a).subspan(done_a, rows_a), static_cast<int32_t>(done_a));
      view.blocks.push_back(blocks_a);
    }
    if (rows_b > 0) {
      batch.add(std::span(b).subspan(done_b, rows_b), static_cast<int32_t>(done_b));
      view.blocks.push_back(blocks_b);
    }
    const Tensor hidden = model.forward(batch, &view);
    EXPECT_TRUE(same_bits(hidden.slice_rows(0, rows_a), whole_a.slice_rows(done_a, done_a + rows_a))) << done_a;
    EXPECT_TRUE(same_bits(hidden.slice_rows(rows_a, rows_a + rows_b), whole_b.slice_rows(done_b, done_b + rows_b))) << done_b;
    done_a += rows_a;
    done_b += rows_b;
  };
  step(70, 0);
  step(1, 40);
  for (int i = 0; i < 30; ++i) step(1, 1);
  step(49, 20);
}

TEST_P(DecoderStrict, TrainerEqualsForward) {
  if (GetParam().numerics.mla == MlaFormula::kAbsorbed) GTEST_SKIP() << "training uses the expanded formula";
  if (GetParam().numerics.cache != KvType::kPlain) GTEST_SKIP() << "training uses plain keys and values";
  Decoder model = tiny_model(GetParam().kind, GetParam().numerics);
  model.allocate_grads();
  const Batch batch = batch_of({tiny_tokens(40, 6), tiny_tokens(75, 7)});
  auto targets = next_tokens(batch);
  for (int t = 5; t < 20; ++t) targets[t] = -1;  // a prompt
  const std::vector<float> logp = model.token_log_probs(batch, targets);
  BackwardOptions options;
  if (model.config().num_nextn_predict_layers > 0) options.mtp_weight = 0.3f;
  options.main_token_weight = 1.f / 100;
  options.balance_alpha = 1e-2f;
  const TokenObjective objective = [](int64_t, std::span<const float>, std::span<float> c) {
    std::fill(c.begin(), c.end(), -1.f / 100);
  };
  const auto run = [&] { return model.forward_backward(batch, targets, objective, options); };
  const BackwardResult two = run();
  EXPECT_EQ(std::memcmp(two.logp.data(), logp.data(), logp.size() * sizeof(float)), 0);
  std::vector<Tensor> grads;
  for (Parameter* p : model.parameters()) grads.push_back(p->grad.defined() ? p->grad.clone() : Tensor());
  set_num_threads(1);
  const BackwardResult one = run();
  EXPECT_EQ(one.mtp_logp_sum, two.mtp_logp_sum);
  EXPECT_EQ(one.balance_loss, two.balance_loss);
  EXPECT_EQ(std::memcmp(one.logp.data(), two.logp.data(), logp.size() * sizeof(float)), 0);
  const auto parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i)
    EXPECT_TRUE(!grads[i].defined() || same_bits(parameters[i]->grad, grads[i])) << parameters[i]->name;
  // A second micro-batch adds: twice the gradient, exactly.
  options.first_micro_batch = false;
  run();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!grads[i].defined() || parameters[i]->name.find("embed_tokens") != std::string::npos) continue;
    double difference = 0, size = 0;
    for (int64_t j = 0; j < grads[i].numel(); ++j) {
      difference += std::abs(parameters[i]->grad.data<float>()[j] - 2.0 * grads[i].data<float>()[j]);
      size += std::abs(grads[i].data<float>()[j]);
    }
    EXPECT_LE(difference, 1e-5 * size) << parameters[i]->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecoderStrict, testing::ValuesIn(cases()), case_name);

// The largest, relative to a's largest.
double difference(const Tensor& a, const Tensor& b) {
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i]));
    largest = std::max(largest, std::abs(static_cast<double>(a.data<float>()[i])));
  }
  return worst / largest;
}

TEST(DecoderFormulas, AgreeOnPaper) {
  Decoder expanded = tiny_model("v3", {Compute::kF32, MlaFormula::kExpanded}),
          absorbed = tiny_model("v3", {Compute::kF32, MlaFormula::kAbsorbed});
  const Batch batch = batch_of({tiny_tokens(100, 8)});
  const Tensor a = expanded.logits(expanded.forward(batch, nullptr)), b = absorbed.logits(absorbed.forward(batch, nullptr));
  EXPECT_LE(difference(a, b), 2e-5);
  EXPECT_GT(difference(a, b), 0);
}

// YaRN's mscale_all_dim changes the softmax scale of DeepSeek's models and of no other: there mscale / mscale_all_dim is the
// magnitude of cos and sin, here 1, which attn_factor says as well.
TEST(DecoderFormulas, OnlyMlaScalesTheSoftmaxByYarn) {
  const auto logits_of = [](const std::string& kind, double mscale, double attn_factor) {
    ModelConfig c = tiny_config(kind);
    c.rope_scaling = {};
    c.rope_scaling.kind = RopeScaling::Kind::kYarn;
    c.rope_scaling.factor = 4, c.rope_scaling.original_max_position_embeddings = 64;
    c.rope_scaling.has_mscale = mscale != 0, c.rope_scaling.mscale = c.rope_scaling.mscale_all_dim = mscale;
    c.rope_scaling.attn_factor = attn_factor;
    Decoder model(c, {Compute::kF32});
    model.init_weights(1, 0.2);
    return model.logits(model.forward(batch_of({tiny_tokens(40, 8)}), nullptr));
  };
  for (const std::string kind : {"llama", "qwen2", "qwen3", "v2lite"}) {
    const Tensor a = logits_of(kind, 1, 1), b = logits_of(kind, 0, 1 / (0.1 * std::log(4.0) + 1));
    if (kind == "v2lite")
      EXPECT_GT(difference(a, b), 1e-3);
    else
      EXPECT_LE(difference(a, b), 2e-5) << kind;
  }
}

}  // namespace
}  // namespace fathom
