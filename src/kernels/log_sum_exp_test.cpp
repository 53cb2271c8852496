#include "kernels/log_sum_exp.h"

#include <algorithm>
#include <limits>

#include "kernels/op_testing.h"

namespace fathom {
namespace {

using namespace fathom::testing;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Exact {
  double lse, entropy;
};
Exact exact(const float* x, int64_t n) {
  const double m = *std::max_element(x, x + n);
  double sum = 0, moment = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = x[i] - m, e = std::exp(d);
    sum += e;
    if (e > 0) moment += e * d;
  }
  return {m + std::log(sum), std::log(sum) - moment / sum};
}

TEST(LogSumExp, MatchesDouble) {
  for (int64_t n : {1, 2, 15, 16, 17, 63, 64, 100, 4095, 4096, 4097, 9000, 16384})
    for (float scale : {0.1f, 1.f, 10.f}) {
      const Tensor x = random_tensor({n}, DType::kF32, n, scale, 3.f);
      const Exact want = exact(x.data<float>(), n);
      // The sum of exps errs by 2 ulp of each term and a chain of n/64 additions; the result is rounded once.
      EXPECT_NEAR(row_log_sum_exp(x.data<float>(), n), want.lse, 1e-6 + 1.2e-7 * std::abs(want.lse)) << n;
      // The moment's terms are as large as log n.
      EXPECT_NEAR(row_entropy(x.data<float>(), n), want.entropy, 5e-6) << n;
    }
}

double exact_kl(const float* p, const float* q, int64_t n) {
  const double lse_p = exact(p, n).lse, lse_q = exact(q, n).lse;
  double kl = 0;
  for (int64_t i = 0; i < n; ++i)
    if (std::exp(p[i] - lse_p) > 0) kl += std::exp(p[i] - lse_p) * ((p[i] - lse_p) - (q[i] - lse_q));
  return kl;
}

TEST(LogSumExp, DivergenceMatchesDouble) {
  for (int64_t n : {1, 2, 17, 100, 4097, 16384})
    for (float apart : {0.f, 1e-4f, 1e-2f, 0.3f, 3.f}) {
      const Tensor p = random_tensor({n}, DType::kF32, n, 3.f), noise = random_tensor({n}, DType::kF32, n + 1, apart);
      std::vector<float> q(n);
      for (int64_t i = 0; i < n; ++i) q[i] = p.data<float>()[i] + noise.data<float>()[i] + 0.7f;
      const double want = exact_kl(p.data<float>(), q.data(), n);
      const float got =
          row_kl_divergence(p.data<float>(), row_log_sum_exp(p.data<float>(), n), q.data(), row_log_sum_exp(q.data(), n), n);
      // d errs by a last place of the logits, 5e-7, against differences of the size of `apart`.
      EXPECT_NEAR(got, want, 1e-12 + want * 1e-5 + 2e-6 * std::sqrt(std::max(0., want))) << n << " " << apart;
      EXPECT_GE(got, 0);
    }
}

TEST(LogSumExp, DivergenceOfWhatCannotBe) {
  const std::vector<float> p = {0.f, 0.f, -kInfinity, -kInfinity}, q = {0.f, -kInfinity, 0.f, -kInfinity};
  const float log2 = std::log(2.f);
  EXPECT_EQ(row_kl_divergence(p.data(), log2, q.data(), log2, 4), kInfinity) << "q is 0 where p is not";
  EXPECT_NEAR(row_kl_divergence(q.data(), log2, q.data(), log2, 4), 0, 0) << "what neither knows adds nothing";
  const std::vector<float> wide = {0.f, 0.f, 0.f, -kInfinity};
  EXPECT_NEAR(row_kl_divergence(p.data(), log2, wide.data(), std::log(3.f), 4), std::log(1.5), 1e-6);
}

TEST(LogSumExp, FarValues) {
  std::vector<float> x(5000, -kInfinity);
  EXPECT_EQ(row_log_sum_exp(x.data(), 5000), -kInfinity);
  x[4999] = -3.f;
  EXPECT_EQ(row_log_sum_exp(x.data(), 5000), -3.f);
  EXPECT_EQ(row_entropy(x.data(), 5000), 0.f);
  x[2] = 1e30f;
  EXPECT_EQ(row_log_sum_exp(x.data(), 5000), 1e30f);
  x[2] = 1e4f;
  x[3] = 1e4f;
  EXPECT_NEAR(row_log_sum_exp(x.data(), 5000), 1e4 + std::log(2.), 1e-3);  // half a last place at 1e4
  EXPECT_NEAR(row_entropy(x.data(), 5000), std::log(2.), 1e-6);
}

TEST(LogSumExp, NanAndInfinityAreNotSwallowed) {
  for (int64_t where : {0, 7, 70, 4096, 4999})
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      std::vector<float> x(5000, 1.f);
      x[where] = bad;
      EXPECT_TRUE(std::isnan(row_log_sum_exp(x.data(), 5000))) << where;
      std::fill(x.begin(), x.end(), -kInfinity);
      x[where] = bad;
      EXPECT_TRUE(std::isnan(row_log_sum_exp(x.data(), 5000))) << where;
    }
}

TEST(LogSumExp, SameBitsOnEveryRung) {
  const Tensor x = random_tensor({9001}, DType::kF32, 1, 4.f);
  expect_same_bits_everywhere([&] {
    Tensor y = Tensor::empty({40}, DType::kF32);
    for (int64_t i = 0; i < 10; ++i) {
      const int64_t n = 1 + i * 1000;
      y.data<float>()[4 * i] = row_log_sum_exp(x.data<float>(), n);
      y.data<float>()[4 * i + 1] = row_entropy(x.data<float>(), n);
      y.data<float>()[4 * i + 2] = row_max(x.data<float>(), n);
      y.data<float>()[4 * i + 3] = row_kl_divergence(x.data<float>(), 10.f, x.data<float>() + 1, 10.5f, n - (n > 1));
    }
    return bytes_of(y);
  });
}

}  // namespace
}  // namespace fathom
