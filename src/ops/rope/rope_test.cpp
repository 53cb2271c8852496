#include "ops/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backend/cpu/isa.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

RopeScaling deepseek_yarn(double mscale) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kYarn;
  s.factor = 40;
  s.original_max_position_embeddings = 4096;
  s.mscale = s.mscale_all_dim = mscale;
  s.has_mscale = true;
  return s;
}

TEST(RopeTable, YarnGoldenValues) {  // architecture.md §1.3: base 1e4, dim 64, 40 x 4096: low 10, high 23
  const RopeTable t = make_rope_table(64, 1e4, deepseek_yarn(1));
  ASSERT_EQ(t.inv_freq.size(), 32u);
  const std::pair<int, double> golden[] = {{0, 1},       {5, 0.237137371},     {10, 0.0562341325},   {11, 0.0390069266},
                                           {16, 0.0055}, {20, 0.000790569415}, {23, 3.33380358e-05}, {31, 3.33380358e-06}};
  for (auto [j, value] : golden) EXPECT_NEAR(t.inv_freq[j], value, 1e-8 * value) << j;
  EXPECT_DOUBLE_EQ(t.magnitude, 1);
}

TEST(RopeTable, SoftmaxFactor) {
  EXPECT_NEAR(std::pow(192, -0.5) * rope_softmax_factor(deepseek_yarn(1)), 0.135233779, 1e-9);
  EXPECT_NEAR(std::pow(192, -0.5) * rope_softmax_factor(deepseek_yarn(0.707)), 0.114721387, 1e-9);
  EXPECT_EQ(rope_softmax_factor({}), 1);
  EXPECT_EQ(rope_softmax_factor(deepseek_yarn(0)), 1);  // no mscale keys: cos and sin carry the factor instead
}

TEST(RopeTable, YarnMagnitude) {
  RopeScaling s = deepseek_yarn(0);
  s.has_mscale = false;
  s.factor = 4;  // R1-0528-Qwen3-8B: 0.1 ln 4 + 1, times attn_factor
  EXPECT_NEAR(make_rope_table(128, 1e6, s).magnitude, 1.138629436, 1e-9);
  s.attn_factor = 0.8782488562869419;
  EXPECT_NEAR(make_rope_table(128, 1e6, s).magnitude, 1.0, 1e-9);
  s.attn_factor = 1;
  s.mscale = 0.707;  // one key of the pair alone counts as none
  EXPECT_NEAR(make_rope_table(128, 1e6, s).magnitude, 1.138629436, 1e-9);
  s.mscale_all_dim = 1;
  EXPECT_NEAR(make_rope_table(128, 1e6, s).magnitude, (0.0707 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1), 1e-12);
  s.factor = 1;  // nothing stretched
  s.mscale = s.mscale_all_dim = 0;
  EXPECT_EQ(make_rope_table(128, 1e6, s).magnitude, 1);
}

TEST(RopeTable, YarnEqualBordersDoNotDivideByZero) {
  RopeScaling s = deepseek_yarn(1);
  s.original_max_position_embeddings = 7;  // both corrections below 0: low 0, high clamped
  for (double f : make_rope_table(8, 1e4, s).inv_freq) EXPECT_TRUE(std::isfinite(f) && f > 0);
  s.beta_fast = s.beta_slow = 1;
  s.original_max_position_embeddings = 2 * M_PI * 10;  // correction = 1 exactly or next to it
  for (double f : make_rope_table(8, 1e4, s).inv_freq) EXPECT_TRUE(std::isfinite(f) && f > 0);
}

TEST(RopeTable, Llama3Bands) {  // §2.3, the numbers of Llama 3.1
  RopeScaling s;
  s.kind = RopeScaling::Kind::kLlama3;
  s.factor = 8;
  s.original_max_position_embeddings = 8192;
  const RopeTable plain = make_rope_table(128, 5e5, {}), t = make_rope_table(128, 5e5, s);
  int stay = 0, divided = 0, smooth = 0;
  for (size_t j = 0; j < t.inv_freq.size(); ++j) {
    const double wavelength = 2 * M_PI / plain.inv_freq[j], ratio = t.inv_freq[j] / plain.inv_freq[j];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(ratio, 1);
      ++stay;
    } else if (wavelength > 8192) {
      EXPECT_DOUBLE_EQ(ratio, 0.125);
      ++divided;
    } else {
      const double w = (8192 / wavelength - 1) / 3;
      EXPECT_NEAR(ratio, (1 - w) / 8 + w, 1e-12);
      ++smooth;
    }
  }
  EXPECT_EQ(stay, 29);
  EXPECT_EQ(smooth, 6);
  EXPECT_EQ(divided, 29);
  EXPECT_EQ(t.magnitude, 1);
}

TEST(RopeTable, Linear) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kLinear;
  s.factor = 4;
  EXPECT_DOUBLE_EQ(make_rope_table(64, 1e4, s).inv_freq[3], std::pow(1e4, -6.0 / 64) / 4);
}

TEST(RopeTable, BadConfigurationNamesTheField) {
  RopeScaling s = deepseek_yarn(1);
  s.original_max_position_embeddings = 0;
  try {
    make_rope_table(64, 1e4, s);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("original_max_position_embeddings"), std::string::npos);
  }
  EXPECT_THROW(make_rope_table(63, 1e4, {}), Error);
}

Tensor random_rows(int64_t rows, int64_t width, DType dtype) {
  Tensor t = Tensor::empty({rows, width}, DType::kF32);
  Rng rng(7, RngStream::kTest);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = rng.next_normal();
  return t.to(dtype);
}

class RopeApply : public ::testing::TestWithParam<std::tuple<DType, bool>> {};
INSTANTIATE_TEST_SUITE_P(All, RopeApply, ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()));

TEST_P(RopeApply, RotatesEachPairAndNothingElse) {
  const auto [dtype, interleaved] = GetParam();
  const int64_t heads = 3, stride = 40, offset = 6, dim = 24, rows = 5;
  const RopeTable table = make_rope_table(dim, 1e4, {});
  const std::vector<int32_t> positions = {0, 1, 17, 4097, 131071};
  const RopeAngles angles = make_rope_angles(table, positions);
  const Tensor before = random_rows(rows, heads * stride, dtype);
  for (Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    Tensor x = before.clone();
    rope_apply(x, heads, stride, offset, angles, interleaved, false);
    const Tensor a = before.to(DType::kF32), b = x.to(DType::kF32);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t c = 0; c < stride; ++c)
          if (c < offset || c >= offset + dim) {
            EXPECT_EQ(a.row<float>(i)[h * stride + c], b.row<float>(i)[h * stride + c]);
          }
        for (int64_t j = 0; j < dim / 2; ++j) {
          const int64_t base = h * stride + offset, ix = base + (interleaved ? 2 * j : j),
                        iy = base + (interleaved ? 2 * j + 1 : j + dim / 2);
          const double angle = positions[i] * table.inv_freq[j], u = a.row<float>(i)[ix], v = a.row<float>(i)[iy];
          const double tolerance = (dtype == DType::kF32 ? 3e-7 : 4.0 / 1024) * (std::abs(u) + std::abs(v));
          EXPECT_NEAR(b.row<float>(i)[ix], u * std::cos(angle) - v * std::sin(angle), tolerance);
          EXPECT_NEAR(b.row<float>(i)[iy], u * std::sin(angle) + v * std::cos(angle), tolerance);
        }
      }
    rope_apply(x, heads, stride, offset, angles, interleaved, true);
    const Tensor back = x.to(DType::kF32);
    for (int64_t i = 0; i < a.numel(); ++i)
      EXPECT_NEAR(back.data<float>()[i], a.data<float>()[i], dtype == DType::kF32 ? 2e-6 : 0.05);
  }
  set_isa_for_test(best_isa());
}

TEST_P(RopeApply, BitsOfARowDependOnItsPositionAlone) {
  const auto [dtype, interleaved] = GetParam();
  const int64_t heads = 4, dim = 64, rows = 70;
  RopeTable table = make_rope_table(dim, 1e4, deepseek_yarn(1));
  std::vector<int32_t> positions(rows);
  for (int64_t i = 0; i < rows; ++i) positions[i] = static_cast<int32_t>((i * 977) % 9000);
  const Tensor before = random_rows(rows, heads * dim, dtype);
  set_isa_for_test(best_isa());
  Tensor whole = before.clone();
  rope_apply(whole, heads, dim, 0, make_rope_angles(table, positions), interleaved, false);
  for (Isa isa : supported_isas())
    for (int threads : {1, 2}) {
      set_isa_for_test(isa);
      set_num_threads(threads);
      for (int64_t i = 0; i < rows; i += 3) {
        Tensor one = before.slice_rows(i, i + 1).clone();
        rope_apply(one, heads, dim, 0, make_rope_angles(table, std::span(positions).subspan(i, 1)), interleaved, false);
        EXPECT_EQ(std::memcmp(one.raw(), whole.slice_rows(i, i + 1).raw(), one.bytes()), 0) << isa_name(isa) << " row " << i;
      }
    }
  set_isa_for_test(best_isa());
}

TEST(RopeApplyForms, InterleavedAndHalfSplitGiveTheSameProducts) {  // q.k is the same where the pairs are the same
  const int64_t dim = 16, rows = 2;
  const RopeTable table = make_rope_table(dim, 1e4, {});
  const std::vector<int32_t> positions = {37, 5};
  const RopeAngles angles = make_rope_angles(table, positions);
  Tensor a = random_rows(rows, dim, DType::kF32), b = a.clone();
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < dim / 2; ++j) {
      b.row<float>(i)[j] = a.row<float>(i)[2 * j];
      b.row<float>(i)[j + dim / 2] = a.row<float>(i)[2 * j + 1];
    }
  rope_apply(a, 1, dim, 0, angles, true, false);
  rope_apply(b, 1, dim, 0, angles, false, false);
  double pa = 0, pb = 0;
  for (int64_t j = 0; j < dim; ++j)
    pa += double(a.row<float>(0)[j]) * a.row<float>(1)[j], pb += double(b.row<float>(0)[j]) * b.row<float>(1)[j];
  EXPECT_NEAR(pa, pb, 1e-5);
}

}  // namespace
}  // namespace fathom
