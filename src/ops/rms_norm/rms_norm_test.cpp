#include "ops/rms_norm/rms_norm.h"

#include "kernels/op_testing.h"
#include "ops/rms_norm/rms_norm_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

constexpr float kEps = 1e-6f;

// A sum of n squares in four chains of 16 lanes errs by about n/64 roundings of 6e-8, and y has a handful more; the values are
// of size 4. A bf16 output adds half of its last place, 2^-9 of up to 8.
double tolerance(DType y) { return y == DType::kF32 ? 5e-6 : 8.0 / 512; }

TEST(RmsNorm, ForwardMatchesTheFormula) {
  for (int64_t width : {1, 5, 16, 24, 64, 100, 256, 640, 1000})
    for (DType xt : {DType::kF32, DType::kBF16})
      for (DType gt : {DType::kF32, DType::kBF16})
        for (DType yt : {DType::kF32, DType::kBF16}) {
          const Tensor x = strided(random_tensor({3, width}, xt, 1)), gain = random_tensor({width}, gt, 2, 0.2f, 1.f);
          Tensor y = strided(Tensor::zeros({3, width}, yt)), rstd = Tensor::empty({3}, DType::kF32);
          rms_norm_forward(x, gain, kEps, y, &rstd);
          expect_near(values(y), reference::rms_norm(values(x), values(gain), kEps), tolerance(yt), "y");
          Tensor again = Tensor::empty({3, width}, yt);
          rms_norm_recompute(x, gain, rstd, again);
          EXPECT_EQ(bytes_of(again), bytes_of(y));
          Tensor without = Tensor::empty({3, width}, yt);
          rms_norm_forward(x, gain, kEps, without, nullptr);
          EXPECT_EQ(bytes_of(without), bytes_of(y));
        }
}

TEST(RmsNorm, EpsStandsInsideTheRoot) {
  const Tensor x = random_tensor({2, 32}, DType::kF32, 1, 1e-3f), gain = random_tensor({32}, DType::kF32, 2, 0.f, 1.f);
  Tensor y = Tensor::empty({2, 32}, DType::kF32);
  rms_norm_forward(x, gain, 1e-3f, y, nullptr);
  expect_near(values(y), reference::rms_norm(values(x), values(gain), 1e-3f), 1e-7, "y");
}

TEST(RmsNorm, AddingFirstIsTheSameAsAddingApart) {
  for (DType dt : {DType::kF32, DType::kBF16}) {
    const Tensor delta = strided(random_tensor({5, 72}, dt, 3)), gain = random_tensor({72}, DType::kF32, 2, 0.2f, 1.f);
    Tensor fused = random_tensor({5, 72}, DType::kF32, 4), apart = fused.clone();
    Tensor y = Tensor::empty({5, 72}, DType::kBF16), rstd = Tensor::empty({5}, DType::kF32),
           y2 = Tensor::empty({5, 72}, DType::kBF16);
    add_rms_norm_forward(fused, delta, gain, kEps, y, &rstd);
    const Tensor wide = delta.to(DType::kF32);
    for (int64_t i = 0; i < apart.numel(); ++i) apart.data<float>()[i] += wide.data<float>()[i];
    rms_norm_forward(apart, gain, kEps, y2, nullptr);
    EXPECT_EQ(bytes_of(fused), bytes_of(apart));
    EXPECT_EQ(bytes_of(y), bytes_of(y2));
  }
}

TEST(RmsNorm, BackwardMatchesCentralDifferences) {
  const int64_t rows = 70, width = 21;  // three pieces of the gain's sum, a ragged end
  const Tensor x = strided(random_tensor({rows, width}, DType::kF32, 1)),
               gain = random_tensor({width}, DType::kF32, 2, 0.2f, 1.f);
  const Tensor dy = strided(random_tensor({rows, width}, DType::kF32, 3));
  Tensor y = Tensor::empty({rows, width}, DType::kF32), rstd = Tensor::empty({rows}, DType::kF32);
  rms_norm_forward(x, gain, kEps, y, &rstd);
  Tensor dx = strided(Tensor::zeros({rows, width}, DType::kF32)), dgain = random_tensor({width}, DType::kF32, 5);
  const std::vector<double> dgain_before = values(dgain);
  rms_norm_backward(dy, x, gain, rstd, false, dx, dgain);

  const auto weights = values(dy);
  const auto dx_want = central_differences(
      values(x), [&](const std::vector<double>& v) { return dot(reference::rms_norm(v, values(gain), kEps), weights); });
  auto dgain_want = central_differences(
      values(gain), [&](const std::vector<double>& v) { return dot(reference::rms_norm(values(x), v, kEps), weights); });
  for (size_t i = 0; i < dgain_want.size(); ++i) dgain_want[i] += dgain_before[i];
  expect_near(values(dx), dx_want, 1e-5, "dx");           // values of size 5, a dozen roundings
  expect_near(values(dgain), dgain_want, 5e-5, "dgain");  // sums of 70 terms of size 5

  Tensor accumulated = random_tensor({rows, width}, DType::kF32, 6), ignored = Tensor::zeros({width}, DType::kF32);
  auto sum = values(accumulated);
  rms_norm_backward(dy, x, gain, rstd, true, accumulated, ignored);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += values(dx)[i];
  expect_near(values(accumulated), sum, 1e-6, "accumulated dx");
}

TEST(RmsNorm, BackwardTakesBf16) {
  const Tensor x = random_tensor({9, 40}, DType::kBF16, 1), gain = random_tensor({40}, DType::kBF16, 2, 0.2f, 1.f),
               dy = random_tensor({9, 40}, DType::kBF16, 3);
  Tensor y = Tensor::empty({9, 40}, DType::kF32), rstd = Tensor::empty({9}, DType::kF32);
  rms_norm_forward(x, gain, kEps, y, &rstd);
  Tensor dx = Tensor::empty({9, 40}, DType::kBF16), dgain = Tensor::zeros({40}, DType::kF32),
         dx32 = Tensor::empty({9, 40}, DType::kF32), dgain32 = Tensor::zeros({40}, DType::kF32);
  rms_norm_backward(dy, x, gain, rstd, false, dx, dgain);
  rms_norm_backward(dy.to(DType::kF32), x.to(DType::kF32), gain.to(DType::kF32), rstd, false, dx32, dgain32);
  EXPECT_EQ(bytes_of(dgain), bytes_of(dgain32));
  EXPECT_EQ(bytes_of(dx), bytes_of(dx32.to(DType::kBF16)));
}

TEST(RmsNorm, BitsDependOnTheRowAlone) {
  const int64_t rows = 257, width = 100;
  const Tensor x = random_tensor({rows, width}, DType::kF32, 1), gain = random_tensor({width}, DType::kF32, 2, 0.2f, 1.f),
               dy = random_tensor({rows, width}, DType::kF32, 3);
  const auto run = [&] {
    Tensor y = Tensor::empty({rows, width}, DType::kF32), rstd = Tensor::empty({rows}, DType::kF32),
           dx = Tensor::empty({rows, width}, DType::kF32), dgain = Tensor::zeros({width}, DType::kF32);
    rms_norm_forward(x, gain, kEps, y, &rstd);
    rms_norm_backward(dy, x, gain, rstd, false, dx, dgain);
    for (int64_t t : {0, 31, 32, 200, 256}) {
      Tensor one = Tensor::empty({1, width}, DType::kF32), dx_one = Tensor::empty({1, width}, DType::kF32),
             ignored = Tensor::zeros({width}, DType::kF32);
      rms_norm_forward(x.slice_rows(t, t + 1), gain, kEps, one, nullptr);
      EXPECT_EQ(bytes_of(one), bytes_of(y.slice_rows(t, t + 1)));
      rms_norm_backward(dy.slice_rows(t, t + 1), x.slice_rows(t, t + 1), gain, rstd.slice_rows(t, t + 1), false, dx_one,
                        ignored);
      EXPECT_EQ(bytes_of(dx_one), bytes_of(dx.slice_rows(t, t + 1)));
    }
    return bytes_of(y) + bytes_of(rstd) + bytes_of(dx) + bytes_of(dgain);
  };
  expect_same_bits_everywhere(run);
}

}  // namespace
}  // namespace fathom
