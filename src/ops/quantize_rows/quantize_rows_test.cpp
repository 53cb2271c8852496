#include "ops/quantize_rows/quantize_rows.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/op_testing.h"
#include "ops/quantize_rows/quantize_rows_ref.h"

namespace fathom {
namespace {

using namespace fathom::testing;

std::vector<float> row_of(const Tensor& x, int64_t r) {
  const Tensor wide = x.to(DType::kF32);
  return {wide.row<float>(r), wide.row<float>(r) + wide.dim(1)};
}
const int8_t* row_of_codes(const Tensor& q, int64_t r) { return reinterpret_cast<const int8_t*>(q.raw()) + r * q.row_stride(); }
template <class T>
T at(const Tensor& q, int64_t r, int64_t bytes) {
  T x;
  std::memcpy(&x, row_of_codes(q, r) + bytes, sizeof x);
  return x;
}
void expect_the_oracle(const Tensor& x, int64_t group) {
  const Tensor q = quantize_rows(x, group);
  const int64_t n = x.dim(1);
  for (int64_t r = 0; r < x.dim(0); ++r) {
    const reference::Int8Row want = reference::quantize_row_int8(row_of(x, r), group);
    for (int64_t k0 = 0; k0 < (n + kInt8ChunkK - 1) / kInt8ChunkK * kInt8ChunkK; k0 += group) {
      int32_t sum = 0, half = 0;
      for (int64_t k = k0; k < k0 + group; ++k) {
        const int8_t code = k < n ? want.codes[static_cast<size_t>(k)] : 0;
        ASSERT_EQ(row_of_codes(q, r)[int8_code_at(k)], code) << "row " << r << " k " << k;
        sum += code;
        if (k < k0 + group / 2) half += code;
      }
      const float scale = k0 < n ? want.scales[static_cast<size_t>(k0 / group)] : 0.f;
      for (int64_t k = k0; k < k0 + group; k += 32) {
        ASSERT_EQ(at<int32_t>(q, r, int8_sum_at(k)), sum);
        ASSERT_EQ(at<int32_t>(q, r, int8_half_sum_at(k)), half);
        ASSERT_EQ(at<float>(q, r, int8_scale_at(k)), scale) << "row " << r << " k " << k;
      }
    }
  }
}

TEST(QuantizeRows, BitsOfTheOracleOnEveryRung) {
  for (const Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    for (const int64_t group : {32, 64})
      for (const DType type : {DType::kF32, DType::kBF16})
        for (const int64_t width : {1, 15, 16, 33, 64, 512, 513, 1100}) {
          expect_the_oracle(strided(random_tensor({5, width}, type, static_cast<uint64_t>(width))), group);
          expect_the_oracle(random_tensor({2, width}, type, 3, 1e-20f), group);
        }
  }
  set_isa_for_test(best_isa());
}

TEST(QuantizeRows, TiesGoToEvenAndTheLargestOfAGroupIs127) {
  Tensor x = Tensor::zeros({1, 40}, DType::kF32);
  const float values[] = {127, 0.5f, 1.5f, -2.5f, -127, 3.5f};
  std::memcpy(x.raw(), values, sizeof values);
  x.row<float>(0)[32] = -2, x.row<float>(0)[33] = 1;
  const Tensor q = quantize_rows(x, 32);
  const int8_t want[] = {127, 0, 2, -2, -127, 4}, behind[] = {-127, 64, 0};  // 63.5 goes to 64
  EXPECT_EQ(at<float>(q, 0, int8_scale_at(0)), 1.f);
  EXPECT_EQ(at<float>(q, 0, int8_scale_at(32)), 2.f / 127);
  EXPECT_EQ(std::memcmp(row_of_codes(q, 0), want, sizeof want), 0);
  EXPECT_EQ(std::memcmp(row_of_codes(q, 0) + 32, behind, sizeof behind), 0);
  const Tensor wide = quantize_rows(x, 64);
  EXPECT_EQ(at<float>(wide, 0, int8_scale_at(32)), 1.f);
  EXPECT_EQ(row_of_codes(wide, 0)[32], -2);
}

TEST(QuantizeRows, ZerosAndWhatIsNotFinite) {
  for (const Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    Tensor x = random_tensor({5, 40}, DType::kF32, 1);
    for (int64_t i = 0; i < 40; ++i) x.row<float>(0)[i] = i % 2 ? 0.f : -0.f, x.row<float>(1)[i] = 1e-36f;
    x.row<float>(2)[7] = std::numeric_limits<float>::infinity();
    x.row<float>(3)[39] = std::numeric_limits<float>::quiet_NaN();
    const Tensor q = quantize_rows(x, 32);
    for (const int64_t k : {0, 32}) {  // one bad value spoils its row, both groups
      const int64_t scale = int8_scale_at(k);
      EXPECT_EQ(at<float>(q, 0, scale), 0.f);
      EXPECT_EQ(at<float>(q, 1, scale), 0.f);
      EXPECT_TRUE(std::isnan(at<float>(q, 2, scale)) && std::isnan(at<float>(q, 3, scale)));
      EXPECT_GT(at<float>(q, 4, scale), 0.f);
    }
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t k = 0; k < 40; ++k) EXPECT_EQ(row_of_codes(q, r)[k], 0);
  }
  set_isa_for_test(best_isa());
}

TEST(QuantizeRows, OneRowAndThreads) {
  const Tensor x = random_tensor({257, 700}, DType::kBF16, 9);
  for (const int64_t group : {32, 64}) {
    set_num_threads(1);
    const Tensor all = quantize_rows(x, group);
    set_num_threads(2);
    const Tensor again = quantize_rows(x, group), last = quantize_rows(x.slice_rows(256, 257), group);
    EXPECT_EQ(bytes_of(all), bytes_of(again));
    EXPECT_EQ(std::memcmp(row_of_codes(last, 0), row_of_codes(all, 256), static_cast<size_t>(all.dim(1))), 0);
  }
}

}  // namespace
}  // namespace fathom
