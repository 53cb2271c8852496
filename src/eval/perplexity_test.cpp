// Against values that this code did not make: the fixtures' losses, sums by hand over the fixtures' logits.
#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/safetensors.h"
#include "eval/eval_text.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

TokenDataset dataset(const std::vector<std::vector<int32_t>>& documents) {
  TokenDataset d;
  for (const auto& ids : documents) d.add(ids);
  return d;
}
std::vector<int32_t> counting(int64_t n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = static_cast<int32_t>((i * 37 + 11) % 100);
  return ids;
}
WindowOptions sliding(int64_t context, int64_t stride) { return {EvalProtocol::kSliding, context, stride}; }

TEST(EvalWindows, SlidingCountsEveryTokenOnceWithEnoughBehindIt) {
  for (int64_t n : {2, 3, 9, 10, 11, 12, 13, 50, 101})
    for (int64_t context : {2, 5, 10, 200})
      for (int64_t stride : {int64_t{1}, context / 2, context - 1}) {
        std::vector<int> seen(static_cast<size_t>(n));
        for (const EvalWindow& w : plan_windows(dataset({counting(n)}), sliding(context, stride))) {
          EXPECT_LE(w.rows(), context);
          EXPECT_GE(w.begin, 0);
          for (int64_t i = w.first; i <= w.last; ++i) {
            ++seen[static_cast<size_t>(i)];
            EXPECT_GE(i - w.begin, std::min(i, context - stride + 1)) << "tokens before it";
          }
        }
        EXPECT_EQ(seen[0], 0);
        for (int64_t i = 1; i < n; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], 1) << i << " of " << n;
      }
}

TEST(EvalWindows, LlamaCppCountsTheSecondHalves) {
  const auto windows = plan_windows(dataset({counting(25)}), {EvalProtocol::kLlamaCpp, 8, 0});
  ASSERT_EQ(windows.size(), 3u);
  for (int64_t k = 0; k < 3; ++k) {
    const EvalWindow& w = windows[static_cast<size_t>(k)];
    EXPECT_EQ(w.begin, 8 * k);
    EXPECT_EQ(w.first, 8 * k + 5) << "predicted by row 4, the first of the second half";
    EXPECT_EQ(w.last, 8 * k + 7);
  }
}

TEST(EvalWindows, WhatCannotBeCountedIsRefused) {
  EXPECT_THROW(plan_windows(dataset({{1}, {2}}), sliding(10, 5)), Error);
  EXPECT_THROW(plan_windows(dataset({counting(7)}), {EvalProtocol::kLlamaCpp, 8, 0}), Error);
  EXPECT_THROW(plan_windows(dataset({counting(7)}), sliding(4, 4)), Error);
  EXPECT_THROW(plan_windows(dataset({counting(7)}), sliding(1, 1)), Error);
}

TEST(Estimate, ByHand) {
  // Eight blocks of two tokens each; means 1 .. 8: mean 4.5, standard error sqrt(6 / 8), 7 degrees of freedom: t = 2.36462.
  std::vector<double> sums, counts(8, 2);
  for (int i = 1; i <= 8; ++i) sums.push_back(2 * i);
  const Estimate e = block_mean(sums, counts);
  EXPECT_NEAR(e.mean, 4.5, 1e-12);
  EXPECT_NEAR(e.high - e.mean, 2.36462 * std::sqrt(6.0 / 8), 2e-3);
  EXPECT_NEAR(e.mean - e.low, e.high - e.mean, 1e-12);
  EXPECT_TRUE(std::isnan(block_mean(std::span(sums).first(7), std::span(counts).first(7)).low)) << "too few to tell";
  // Blocks of one rate and many sizes have no spread.
  EXPECT_NEAR(block_mean(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}, std::vector<double>{2, 4, 6, 8, 10, 12, 14, 16}).high,
              0.5, 1e-12);
}

TEST(Estimate, StudentsQuantile) {  // of printed tables
  for (auto [freedom, t] : {std::pair{7.0, 2.36462}, {20, 2.08596}, {1000, 1.96234}})
    EXPECT_NEAR(student_quantile(freedom), t, 2e-4) << freedom;
}

struct Fixture {
  std::string directory;
  std::vector<int32_t> ids;
  double loss;
  Tensor logits;
};
// Mean loss of ids [first, end) by hand.
double loss_of(const Tensor& logits, const std::vector<int32_t>& ids, int64_t first) {
  double loss = 0;
  for (int64_t i = first; i < static_cast<int64_t>(ids.size()); ++i) {
    const float* row = logits.row<float>(i - 1);
    double sum = 0;
    for (int64_t v = 0; v < logits.dim(1); ++v) sum += std::exp(double{row[v]});
    loss += std::log(sum) - double{row[ids[static_cast<size_t>(i)]]};
  }
  return loss / static_cast<double>(static_cast<int64_t>(ids.size()) - first);
}
std::vector<Fixture> fixtures() {
  std::vector<Fixture> all;
  const std::string root = models_folder();
  if (!std::filesystem::is_directory(root)) return all;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string directory = entry.path().string();
    if (!file_exists(directory + "/expected.json") || directory.ends_with("fp8")) continue;
    const Json expected = read_json_file(directory + "/expected.json");
    const auto tensors = SafetensorsFile::open(directory + "/expected.safetensors");
    Fixture f;
    f.directory = directory;
    f.ids = expected["sequences"][0]["input_ids"].get<std::vector<int32_t>>();
    f.loss = expected["sequences"][0]["loss"].get<double>();
    // attn_factor is read as vLLM reads it, transformers passes over it: the loss is then that of the other answer.
    const auto* other = tensors.find("seq0.logits_attn_factor");
    f.logits = tensors.tensor(other ? *other : *tensors.find("seq0.logits")).to(DType::kF32);
    if (other) f.loss = loss_of(f.logits, f.ids, 1);
    all.push_back(std::move(f));
  }
  return all;
}

// One window over the whole sequence: transformers' loss. Windows of llama.cpp's protocol and KL: from the stored logits where
// a window begins the text.
TEST(Perplexity, TheFixturesLosses) {
  const auto all = fixtures();
  if (all.empty()) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  for (const Fixture& f : all) {
    Decoder model = load_model(f.directory, Numerics{}, /*training=*/false);
    PerplexityOptions options;
    options.windows = sliding(static_cast<int64_t>(f.ids.size()) + 3, 1);
    const Perplexity r = measure_perplexity(model, nullptr, dataset({f.ids}), options, nullptr, nullptr);
    EXPECT_EQ(r.tokens, static_cast<int64_t>(f.ids.size()) - 1);
    EXPECT_NEAR(r.nll.mean, f.loss, 1e-5) << f.directory;

    options.windows = {EvalProtocol::kLlamaCpp, static_cast<int64_t>(f.ids.size()), 0};
    const Perplexity half = measure_perplexity(model, nullptr, dataset({f.ids}), options, nullptr, nullptr);
    const double want = loss_of(f.logits, f.ids, static_cast<int64_t>(f.ids.size()) / 2 + 1);
    EXPECT_NEAR(half.nll.mean, want, 1e-5) << f.directory;
  }
}

TEST(Perplexity, BesideABaseline) {
  const auto all = fixtures();
  if (all.empty()) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  const Fixture& f = all[0];
  Numerics narrow;
  narrow.compute = Compute::kBF16;
  Decoder model = load_model(f.directory, narrow, /*training=*/false), baseline = load_model(f.directory, Numerics{}, false);
  const TokenDataset text = dataset({f.ids});
  const int64_t n = static_cast<int64_t>(f.ids.size());
  PerplexityOptions options;
  options.windows = sliding(n, 1);
  const Perplexity r = measure_perplexity(model, &baseline, text, options, nullptr, nullptr);
  ASSERT_TRUE(r.comparison);
  EXPECT_NEAR(r.comparison->baseline_nll.mean, f.loss, 1e-5);
  EXPECT_NEAR(r.comparison->log_ratio.mean, r.nll.mean - f.loss, 2e-5);
  // KL by hand: transformers' stored logits against ours in bf16.
  Batch batch;
  batch.add(f.ids);
  const Tensor ours = model.logits(model.forward(batch, nullptr));
  double kl = 0, largest = 0, same = 0;
  for (int64_t t = 0; t < n - 1; ++t) {
    const float *p = f.logits.row<float>(t), *q = ours.row<float>(t);
    const int64_t vocab = f.logits.dim(1);
    double sum_p = 0, sum_q = 0, row = 0;
    for (int64_t v = 0; v < vocab; ++v) sum_p += std::exp(double{p[v]}), sum_q += std::exp(double{q[v]});
    for (int64_t v = 0; v < vocab; ++v)
      row += std::exp(double{p[v]}) / sum_p * (double{p[v]} - std::log(sum_p) - double{q[v]} + std::log(sum_q));
    kl += row / static_cast<double>(n - 1);
    largest = std::max(largest, row);
    same += std::max_element(p, p + vocab) - p == std::max_element(q, q + vocab) - q;
  }
  EXPECT_GT(kl, 1e-6);
  EXPECT_NEAR(r.comparison->kl.mean, kl, 0.02 * kl);
  EXPECT_NEAR(r.comparison->max_kl, largest, 0.02 * largest);
  EXPECT_NEAR(r.comparison->same_top.mean, same / static_cast<double>(n - 1), 1e-12);
  // A model beside itself.
  const Perplexity self = measure_perplexity(baseline, &baseline, text, options, nullptr, nullptr);
  EXPECT_EQ(self.comparison->kl.mean, 0);
  EXPECT_EQ(self.comparison->log_ratio.mean, 0);
  EXPECT_EQ(self.comparison->same_top.mean, 1);
}

TEST(Perplexity, DocumentsDoNotSeeEachOtherAndBosStandsInFront) {
  const auto all = fixtures();
  if (all.empty()) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  const Fixture& f = all[0];
  Decoder model = load_model(f.directory, Numerics{}, /*training=*/false);
  const std::vector<int32_t> a = counting(9), b = f.ids;
  ASSERT_GE(b.size(), 10u);
  PerplexityOptions options;
  options.windows = sliding(6, 3);
  const auto nll = [&](const std::vector<std::vector<int32_t>>& documents) {
    const Perplexity r = measure_perplexity(model, nullptr, dataset(documents), options, nullptr, nullptr);
    return r.nll.mean * static_cast<double>(r.tokens);
  };
  EXPECT_NEAR(nll({a, b}), nll({a}) + nll({b}), 1e-9);
  const double plain = nll({b});
  options.bos_id = 77;
  const double with_bos = nll({b});
  EXPECT_NE(with_bos, plain);
  // By hand: a window that begins the document is as it is, the others begin with bos.
  double want = 0;
  for (const EvalWindow& w : plan_windows(dataset({b}), options.windows)) {
    Batch batch;
    std::vector<int32_t> seen(b.begin() + w.begin, b.begin() + w.last);
    if (w.begin > 0) seen[0] = options.bos_id;
    batch.add(seen);
    std::vector<int32_t> targets(b.begin() + w.begin + 1, b.begin() + w.last + 1);
    const std::vector<float> logp = model.token_log_probs(batch, targets);
    for (int64_t i = w.first; i <= w.last; ++i) want -= static_cast<double>(logp[static_cast<size_t>(i - 1 - w.begin)]);
  }
  EXPECT_NEAR(with_bos, want, 1e-9);
}

TEST(Perplexity, StopsWhenAskedAndCountsBytes) {
  const auto all = fixtures();
  if (all.empty()) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  Decoder model = load_model(all[0].directory, Numerics{}, /*training=*/false);
  PerplexityOptions options;
  options.windows = sliding(600, 300);
  options.token_bytes.assign(static_cast<size_t>(model.config().vocab_size), 3);
  const TokenDataset text = dataset({counting(3000)});
  const Perplexity stopped = measure_perplexity(model, nullptr, text, options, nullptr, [] { return true; });
  EXPECT_FALSE(stopped.complete);
  EXPECT_EQ(stopped.tokens, 600) << "what fits no forward together with the next window";
  EXPECT_EQ(stopped.bytes, 1800);
  options.max_tokens = 700;
  const Perplexity some = measure_perplexity(model, nullptr, text, options, nullptr, nullptr);
  EXPECT_TRUE(some.complete);
  EXPECT_EQ(some.tokens, 900);
  options.max_tokens = 0;
  const Perplexity whole = measure_perplexity(model, nullptr, text, options, nullptr, nullptr);
  EXPECT_EQ(whole.tokens, 2999);
  EXPECT_EQ(whole.blocks, 12);
  EXPECT_LT(whole.nll.low, whole.nll.mean);
  EXPECT_THROW(measure_perplexity(model, nullptr, dataset({{1, 1 << 20}}), options, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace fathom
