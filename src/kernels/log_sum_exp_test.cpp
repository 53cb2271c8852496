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
    Tensor y = Tensor::empty({30}, DType::kF32);
    for (int64_t i = 0; i < 10; ++i) {
      const int64_t n = 1 + i * 1000;
      y.data<float>()[3 * i] = row_log_sum_exp(x.data<float>(), n);
      y.data<float>()[3 * i + 1] = row_entropy(x.data<float>(), n);
      y.data<float>()[3 * i + 2] = row_max(x.data<float>(), n);
    }
    return bytes_of(y);
  });
}

}  // namespace
}  // namespace fathom
