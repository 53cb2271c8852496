#include "ops/adamw/adamw.h"

#include <limits>

#include "kernels/op_testing.h"
#include "ops/adamw/adamw_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

AdamWStep some_step(int64_t t) {
  AdamWStep step;
  step.lr = 0.01;
  step.step = t;
  step.grad_scale = 0.7f;
  return step;
}

TEST(AdamW, FollowsTheFormulaOverManySteps) {
  for (int64_t n : {1, 15, 16, 100}) {
    Tensor value = random_tensor({n}, DType::kF32, 1), m = Tensor::zeros({n}, DType::kF32), v = Tensor::zeros({n}, DType::kF32);
    auto value_want = values(value), m_want = values(m), v_want = values(v);
    for (int64_t t = 1; t <= 50; ++t) {
      const Tensor grad = random_tensor({n}, DType::kF32, 100 + t, t % 5 == 0 ? 1e-6f : 1.f);
      adamw_update(some_step(t), grad, value, m, v);
      reference::adamw(some_step(t), values(grad), value_want, m_want, v_want);
    }
    // A step moves the value by about 0.01 with a relative error of some 6e-7, and rounds a value of size 3 twice.
    expect_near(values(value), value_want, 50 * 2.5e-7, "value");
    expect_near(values(m), m_want, 1e-6, "m");
    expect_near(values(v), v_want, 1e-6, "v");
  }
}

// 1 (1 - 0.1 * 0.1) - 0.1 * 0.5 / (0.5 + 1e-8) = 0.89: decay first, and the first corrected step has the size of lr.
TEST(AdamW, FirstStepByHand) {
  AdamWStep step;
  step.lr = 0.1;
  Tensor value = Tensor::zeros({1}, DType::kF32), m = Tensor::zeros({1}, DType::kF32), v = Tensor::zeros({1}, DType::kF32),
         grad = Tensor::zeros({1}, DType::kF32);
  value.data<float>()[0] = 1;
  grad.data<float>()[0] = 0.5f;
  adamw_update(step, grad, value, m, v);
  EXPECT_NEAR(value.data<float>()[0], 0.89, 2e-7);
  EXPECT_NEAR(m.data<float>()[0], 0.05, 1e-8);
  EXPECT_NEAR(v.data<float>()[0], 0.0125, 1e-9);
}

TEST(AdamW, Bf16MomentsAreRoundedOnce) {
  const int64_t n = 70;
  const Tensor grad = random_tensor({n}, DType::kF32, 2);
  for (DType mt : {DType::kF32, DType::kBF16})
    for (DType vt : {DType::kF32, DType::kBF16}) {
      Tensor value = random_tensor({n}, DType::kF32, 1),
             m = random_tensor({n}, DType::kBF16, 3, 0.1f).to(mt == DType::kF32 ? DType::kF32 : DType::kBF16);
      Tensor v = Tensor::zeros({n}, vt), value32 = value.clone(), m32 = m.to(DType::kF32),
             v32 = Tensor::zeros({n}, DType::kF32);
      adamw_update(some_step(7), grad, value, m, v);
      adamw_update(some_step(7), grad, value32, m32, v32);
      EXPECT_EQ(bytes_of(value), bytes_of(value32));
      EXPECT_EQ(bytes_of(m), bytes_of(m32.to(mt)));
      EXPECT_EQ(bytes_of(v), bytes_of(v32.to(vt)));
    }
}

TEST(AdamW, ZeroGradientOnlyDecays) {
  Tensor value = random_tensor({40}, DType::kF32, 1), m = Tensor::zeros({40}, DType::kF32),
         v = Tensor::zeros({40}, DType::kF32);
  const auto before = values(value);
  adamw_update(some_step(1), Tensor::zeros({40}, DType::kF32), value, m, v);
  for (int64_t i = 0; i < 40; ++i) EXPECT_FLOAT_EQ(value.data<float>()[i], before[i] * (1 - 0.01 * 0.1));
}

TEST(AdamW, SameBitsOnEveryRungAndThreadCount) {
  const int64_t n = 100003;
  const Tensor grad = random_tensor({n}, DType::kF32, 2);
  expect_same_bits_everywhere([&] {
    Tensor value = random_tensor({n}, DType::kF32, 1), m = Tensor::zeros({n}, DType::kBF16),
           v = Tensor::zeros({n}, DType::kF32);
    for (int64_t t = 1; t <= 3; ++t) adamw_update(some_step(t), grad, value, m, v);
    const double squares[2] = {sum_of_squares(grad), sum_of_squares(m)};
    return bytes_of(value) + bytes_of(m) + bytes_of(v) + std::string(reinterpret_cast<const char*>(squares), sizeof squares);
  });
}

TEST(SumOfSquares, IsADoubleSum) {
  for (DType type : {DType::kF32, DType::kBF16})
    for (int64_t n : {0, 1, 15, 17, 32768, 70001}) {
      const Tensor x = random_tensor({n}, type, n + 1);
      const double want = dot(values(x), values(x));
      EXPECT_NEAR(sum_of_squares(x), want, 1e-12 * want);
    }
  Tensor far = Tensor::zeros({2}, DType::kF32);
  far.data<float>()[0] = 1e30f;
  far.data<float>()[1] = 1e-30f;
  EXPECT_NEAR(sum_of_squares(far), 1e60, 1e54);  // 1e30f itself errs by 1e-8; no overflow
}

TEST(AllFinite, FindsEveryBadNumber) {
  for (DType type : {DType::kF32, DType::kBF16})
    for (int64_t n : {1, 16, 100, 70001}) {
      Tensor x = random_tensor({n}, type, 5, 1e30f);
      EXPECT_TRUE(all_finite(x));
      for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN()})
        for (int64_t where : {int64_t{0}, n / 2, n - 1}) {
          Tensor y = x.to(DType::kF32);
          y.data<float>()[where] = bad;
          EXPECT_FALSE(all_finite(type == DType::kF32 ? y : y.to(type))) << n << " " << where;
        }
    }
}

}  // namespace
}  // namespace fathom
