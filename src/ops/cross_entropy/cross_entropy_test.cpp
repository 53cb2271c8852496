#include "ops/cross_entropy/cross_entropy.h"

#include <limits>

#include "kernels/op_testing.h"
#include "ops/cross_entropy/cross_entropy_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

std::vector<int32_t> some_targets(int64_t rows, int64_t valid) {
  std::vector<int32_t> targets(rows);
  Rng rng(9, RngStream::kTest);
  for (auto& t : targets) t = static_cast<int32_t>(rng.next_below(valid));
  if (rows > 2) targets[1] = -1, targets[2] = static_cast<int32_t>(valid - 1);
  return targets;
}
std::vector<float> some_coefficients(int64_t rows) {
  const Tensor c = random_tensor({rows}, DType::kF32, 11);
  return {c.data<float>(), c.data<float>() + rows};
}

TEST(CrossEntropy, LogProbsAndEntropyMatchTheFormula) {
  for (int64_t width : {3, 40, 300, 9000})
    for (int64_t padding : {0, 2}) {
      const int64_t rows = 6, valid = width - padding;
      const Tensor logits = strided(random_tensor({rows, width}, DType::kF32, width, 3.f));
      const auto targets = some_targets(rows, valid);
      Tensor logp = Tensor::empty({rows}, DType::kF32), h = Tensor::empty({rows}, DType::kF32),
             lse = Tensor::empty({rows}, DType::kF32);
      token_log_probs(logits, targets, valid, logp);
      token_entropy(logits, valid, h);
      log_sum_exp(logits, valid, lse);
      // lse is of size 15 (last place 1e-6), the logit is subtracted from it once.
      expect_near(values(logp), reference::log_probs(values(logits), targets, width, valid), 3e-6, "logp");
      expect_near(values(h), reference::entropy(values(logits), width, valid), 5e-6, "entropy");
      EXPECT_EQ(logp.data<float>()[1], 0.f);
      EXPECT_EQ(logp.data<float>()[0], logits.row<float>(0)[targets[0]] - lse.data<float>()[0]);
    }
}

TEST(CrossEntropy, DivergenceMatchesTheFormula) {
  for (int64_t width : {3, 300, 9000})
    for (int64_t padding : {0, 2}) {
      const int64_t rows = 6, valid = width - padding;
      const Tensor p = strided(random_tensor({rows, width}, DType::kF32, width, 3.f)),
                   q = strided(random_tensor({rows, width}, DType::kF32, width + 1, 3.f));
      Tensor lse_p = Tensor::empty({rows}, DType::kF32), lse_q = lse_p.clone(), kl = lse_p.clone();
      log_sum_exp(p, valid, lse_p);
      log_sum_exp(q, valid, lse_q);
      token_kl_divergence(p, lse_p, q, lse_q, valid, kl);
      expect_near(values(kl), reference::kl_divergence(values(p), values(q), width, valid), 5e-5, "KL");  // of size 10
    }
}

TEST(CrossEntropy, BackwardMatchesCentralDifferences) {
  const int64_t rows = 5, width = 45, valid = 41;
  const Tensor logits = strided(random_tensor({rows, width}, DType::kF32, 1, 2.f));
  const auto targets = some_targets(rows, valid);
  const auto coefficients = some_coefficients(rows);
  const std::vector<double> weights(coefficients.begin(), coefficients.end());
  Tensor d = strided(random_tensor({rows, width}, DType::kF32, 7)), logp = Tensor::empty({rows}, DType::kF32),
         apart = Tensor::empty({rows}, DType::kF32);
  log_prob_backward(logits, targets, coefficients, valid, d, logp);
  token_log_probs(logits, targets, valid, apart);
  EXPECT_EQ(bytes_of(logp), bytes_of(apart)) << "the trainer's log-probabilities are token_log_probs', bit for bit";
  const auto want = central_differences(values(logits), [&](const std::vector<double>& v) {
    return dot(reference::log_probs(v, targets, width, valid), weights);
  });
  expect_near(values(d), want, 3e-6, "dlogits");  // p <= 1 has the relative error of exp(x - lse): 2 ulp and |lse| roundings
  for (int64_t i = 0; i < width; ++i) EXPECT_EQ(d.row<float>(1)[i], 0.f) << "a row without a target";
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = valid; i < width; ++i) EXPECT_EQ(d.row<float>(t)[i], 0.f) << "padding of the vocabulary";
}

TEST(CrossEntropy, BackwardInPlaceAndBf16GiveTheSame) {
  const int64_t rows = 6, width = 5000;
  const Tensor logits = random_tensor({rows, width}, DType::kF32, 1, 2.f);
  const auto targets = some_targets(rows, width);
  const auto coefficients = some_coefficients(rows);
  Tensor d = Tensor::empty({rows, width}, DType::kF32), logp = Tensor::empty({rows}, DType::kF32);
  log_prob_backward(logits, targets, coefficients, width, d, logp);
  Tensor in_place = logits.clone(), narrow = Tensor::empty({rows, width}, DType::kBF16);
  log_prob_backward(in_place, targets, coefficients, width, in_place, logp);
  EXPECT_EQ(bytes_of(in_place), bytes_of(d));
  log_prob_backward(logits, targets, coefficients, width, narrow, logp);
  EXPECT_EQ(bytes_of(narrow), bytes_of(d.to(DType::kBF16)));
  // A row of the BF16 gradient over the first half of its row of logits, with the sums known from before.
  Tensor shared = logits.clone(), lse = Tensor::empty({rows}, DType::kF32);
  Tensor over = Tensor::wrap(shared.raw(), {rows, 2 * width}, DType::kBF16).slice_columns(0, width);
  token_log_probs(shared, targets, width, logp, &lse);
  log_prob_backward(shared, targets, coefficients, width, over, logp, &lse);
  EXPECT_EQ(bytes_of(over.clone()), bytes_of(narrow));
}

TEST(CrossEntropy, ANanLogitReachesTheLoss) {
  Tensor logits = random_tensor({1, 100}, DType::kF32, 1), logp = Tensor::empty({1}, DType::kF32);
  logits.data<float>()[50] = std::numeric_limits<float>::quiet_NaN();
  token_log_probs(logits, std::vector<int32_t>{3}, 100, logp);
  EXPECT_TRUE(std::isnan(logp.data<float>()[0]));
}

TEST(CrossEntropy, BitsDependOnTheRowAlone) {
  const int64_t rows = 257, width = 333;
  const Tensor logits = random_tensor({rows, width}, DType::kF32, 1, 3.f);
  const auto targets = some_targets(rows, width);
  const auto coefficients = some_coefficients(rows);
  expect_same_bits_everywhere([&] {
    Tensor d = Tensor::empty({rows, width}, DType::kF32), logp = Tensor::empty({rows}, DType::kF32),
           h = Tensor::empty({rows}, DType::kF32), lse = h.clone(), kl = h.clone();
    log_prob_backward(logits, targets, coefficients, width, d, logp);
    token_entropy(logits, width, h);
    log_sum_exp(logits, width, lse);
    token_kl_divergence(logits, lse, d, h, width, kl);
    for (int64_t t : {0, 1, 100, 256}) {
      Tensor d_one = Tensor::empty({1, width}, DType::kF32), logp_one = Tensor::empty({1}, DType::kF32);
      log_prob_backward(logits.slice_rows(t, t + 1), std::span(targets).subspan(t, 1), std::span(coefficients).subspan(t, 1),
                        width, d_one, logp_one);
      EXPECT_EQ(bytes_of(d_one), bytes_of(d.slice_rows(t, t + 1)));
      EXPECT_EQ(bytes_of(logp_one), bytes_of(logp.slice_rows(t, t + 1)));
    }
    return bytes_of(d) + bytes_of(logp) + bytes_of(h) + bytes_of(kl);
  });
}

}  // namespace
}  // namespace fathom
