#include "ops/swiglu/swiglu.h"

#include "kernels/op_testing.h"
#include "ops/swiglu/swiglu_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

TEST(Swiglu, ForwardMatchesTheFormula) {
  for (int64_t width : {1, 7, 16, 40, 160})
    for (DType gt : {DType::kF32, DType::kBF16})
      for (DType at : {DType::kF32, DType::kBF16})
        for (bool scaled : {false, true}) {
          const Tensor gate_up = strided(random_tensor({3, 2 * width}, gt, 1, 2.f)), scale = random_tensor({3}, DType::kF32, 2);
          Tensor act = strided(Tensor::zeros({3, width}, at));
          swiglu_forward(gate_up, scaled ? &scale : nullptr, act);
          const auto want = reference::swiglu(values(gate_up), scaled ? values(scale) : std::vector<double>{}, width);
          // Values up to about 60: exp (2 ulp), a quotient and three products in f32; 2^-9 of the value in bf16.
          expect_near(values(act), want, at == DType::kF32 ? 3e-5 : 0.2, "act");
        }
}

TEST(Swiglu, FarGatesAreFinite) {
  Tensor gate_up = Tensor::zeros({1, 8}, DType::kF32), act = Tensor::empty({1, 4}, DType::kF32);
  const float gates[] = {-1000.f, 1000.f, -88.f, 88.f};
  for (int i = 0; i < 4; ++i) gate_up.data<float>()[i] = gates[i], gate_up.data<float>()[4 + i] = 1.f;
  swiglu_forward(gate_up, nullptr, act);
  const float* a = act.data<float>();
  EXPECT_NEAR(a[0], 0.f, 1e-30f);
  EXPECT_EQ(a[1], 1000.f);
  EXPECT_NEAR(a[2], 0.f, 1e-30f);
  EXPECT_EQ(a[3], 88.f);
}

TEST(Swiglu, BackwardMatchesCentralDifferences) {
  const int64_t rows = 4, width = 37;
  const Tensor gate_up = strided(random_tensor({rows, 2 * width}, DType::kF32, 1, 1.5f)),
               scale = random_tensor({rows}, DType::kF32, 2), dact = strided(random_tensor({rows, width}, DType::kF32, 3));
  const auto weights = values(dact);
  for (bool scaled : {false, true}) {
    const auto scales = scaled ? values(scale) : std::vector<double>{};
    Tensor dgate_up = strided(Tensor::zeros({rows, 2 * width}, DType::kF32)), act = Tensor::empty({rows, width}, DType::kF32),
           dscale = Tensor::empty({rows}, DType::kF32);
    swiglu_backward(dact, gate_up, scaled ? &scale : nullptr, dgate_up, &act, scaled ? &dscale : nullptr);
    const auto want = central_differences(
        values(gate_up), [&](const std::vector<double>& v) { return dot(reference::swiglu(v, scales, width), weights); });
    expect_near(values(dgate_up), want, 2e-5, "dgate_up");  // values up to about 20, ten roundings
    Tensor forward = Tensor::empty({rows, width}, DType::kF32);
    swiglu_forward(gate_up, scaled ? &scale : nullptr, forward);
    EXPECT_EQ(bytes_of(act), bytes_of(forward)) << "the recomputed activation is the forward's, bit for bit";
    if (scaled) {
      const auto dscale_want = central_differences(
          scales, [&](const std::vector<double>& v) { return dot(reference::swiglu(values(gate_up), v, width), weights); });
      expect_near(values(dscale), dscale_want, 5e-5, "drow_scale");  // sums of 37 products of size 5
    }
  }
}

TEST(Swiglu, BackwardInPlaceAndInBf16) {
  const int64_t rows = 5, width = 48;
  for (DType type : {DType::kF32, DType::kBF16}) {
    const Tensor gate_up = random_tensor({rows, 2 * width}, type, 1), dact = random_tensor({rows, width}, type, 3),
                 scale = random_tensor({rows}, DType::kF32, 2);
    Tensor wide = Tensor::empty({rows, 2 * width}, DType::kF32), act32 = Tensor::empty({rows, width}, DType::kF32),
           dscale32 = Tensor::empty({rows}, DType::kF32);
    swiglu_backward(dact.to(DType::kF32), gate_up.to(DType::kF32), &scale, wide, &act32, &dscale32);
    Tensor in_place = gate_up.clone(), act = Tensor::empty({rows, width}, type), dscale = Tensor::empty({rows}, DType::kF32);
    swiglu_backward(dact, in_place, &scale, in_place, &act, &dscale);
    EXPECT_EQ(bytes_of(in_place), bytes_of(wide.to(type)));
    EXPECT_EQ(bytes_of(act), bytes_of(act32.to(type)));
    EXPECT_EQ(bytes_of(dscale), bytes_of(dscale32));
  }
}

TEST(Swiglu, BitsDependOnTheRowAlone) {
  const int64_t rows = 257, width = 90;
  const Tensor gate_up = random_tensor({rows, 2 * width}, DType::kF32, 1, 3.f),
               dact = random_tensor({rows, width}, DType::kF32, 3), scale = random_tensor({rows}, DType::kF32, 2);
  const auto run = [&] {
    Tensor act = Tensor::empty({rows, width}, DType::kF32), dgate_up = Tensor::empty({rows, 2 * width}, DType::kF32),
           dscale = Tensor::empty({rows}, DType::kF32);
    swiglu_forward(gate_up, &scale, act);
    swiglu_backward(dact, gate_up, &scale, dgate_up, nullptr, &dscale);
    for (int64_t t : {0, 100, 256}) {
      Tensor one = Tensor::empty({1, width}, DType::kF32), d_one = Tensor::empty({1, 2 * width}, DType::kF32),
             s_one = Tensor::empty({1}, DType::kF32);
      const Tensor s = scale.slice_rows(t, t + 1);
      swiglu_forward(gate_up.slice_rows(t, t + 1), &s, one);
      EXPECT_EQ(bytes_of(one), bytes_of(act.slice_rows(t, t + 1)));
      swiglu_backward(dact.slice_rows(t, t + 1), gate_up.slice_rows(t, t + 1), &s, d_one, nullptr, &s_one);
      EXPECT_EQ(bytes_of(d_one), bytes_of(dgate_up.slice_rows(t, t + 1)));
      EXPECT_EQ(bytes_of(s_one), bytes_of(dscale.slice_rows(t, t + 1)));
    }
    return bytes_of(act) + bytes_of(dgate_up) + bytes_of(dscale);
  };
  expect_same_bits_everywhere(run);
}

}  // namespace
}  // namespace fathom
