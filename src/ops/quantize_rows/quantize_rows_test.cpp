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
const int8_t* codes_of(const Int8Rows& q, int64_t r) {
  return reinterpret_cast<const int8_t*>(q.codes.raw()) + r * q.codes.row_stride();
}
int32_t sum_of(const Int8Rows& q, int64_t r, int64_t at) {
  int32_t sum;
  std::memcpy(&sum, codes_of(q, r) + at, 4);
  return sum;
}
void expect_the_oracle(const Tensor& x) {
  const Int8Rows q = quantize_rows(x);
  for (int64_t r = 0; r < x.dim(0); ++r) {
    const reference::Int8Row want = reference::quantize_row_int8(row_of(x, r));
    ASSERT_EQ(std::memcmp(&want.scale, &q.scales.data<float>()[r], 4), 0) << "row " << r << ": " << q.scales.data<float>()[r];
    int32_t total = 0;
    for (int64_t k0 = 0; k0 < (q.k + kInt8ChunkK - 1) / kInt8ChunkK * kInt8ChunkK; k0 += 32) {
      int32_t sum = 0;
      for (int64_t k = k0; k < k0 + 32; ++k) {
        if (k == k0 + 16) {
          ASSERT_EQ(sum_of(q, r, int8_half_sum_at(k0 / 32)), sum);
        }
        const int8_t code = k < q.k ? want.codes[static_cast<size_t>(k)] : 0;
        ASSERT_EQ(codes_of(q, r)[int8_code_at(k)], code) << "row " << r << " k " << k;
        sum += code;
      }
      ASSERT_EQ(sum_of(q, r, int8_sum_at(k0 / 32)), sum);
      total += sum;
    }
    ASSERT_EQ(q.sums.data<int32_t>()[r], total);
  }
}

TEST(QuantizeRows, BitsOfTheOracleOnEveryRung) {
  for (const Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    for (const DType type : {DType::kF32, DType::kBF16})
      for (const int64_t width : {1, 15, 16, 33, 64, 512, 513, 1100}) {
        expect_the_oracle(strided(random_tensor({5, width}, type, static_cast<uint64_t>(width))));
        expect_the_oracle(random_tensor({2, width}, type, 3, 1e-20f));
      }
  }
  set_isa_for_test(best_isa());
}

TEST(QuantizeRows, TiesGoToEvenAndTheLargestIs127) {
  Tensor x = Tensor::zeros({1, 6}, DType::kF32);
  const float values[] = {127, 0.5f, 1.5f, -2.5f, -127, 3.5f};
  std::memcpy(x.raw(), values, sizeof values);
  const Int8Rows q = quantize_rows(x);
  const int8_t want[] = {127, 0, 2, -2, -127, 4};
  EXPECT_EQ(q.scales.data<float>()[0], 1.f);
  EXPECT_EQ(std::memcmp(codes_of(q, 0), want, sizeof want), 0);
}

TEST(QuantizeRows, ZerosAndWhatIsNotFinite) {
  for (const Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    Tensor x = random_tensor({5, 40}, DType::kF32, 1);
    for (int64_t i = 0; i < 40; ++i) x.row<float>(0)[i] = i % 2 ? 0.f : -0.f, x.row<float>(1)[i] = 1e-36f;
    x.row<float>(2)[7] = std::numeric_limits<float>::infinity();
    x.row<float>(3)[39] = std::numeric_limits<float>::quiet_NaN();
    const Int8Rows q = quantize_rows(x);
    const float* scales = q.scales.data<float>();
    EXPECT_EQ(scales[0], 0.f);
    EXPECT_EQ(scales[1], 0.f);
    EXPECT_TRUE(std::isnan(scales[2]) && std::isnan(scales[3]));
    EXPECT_GT(scales[4], 0.f);
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t k = 0; k < 40; ++k) EXPECT_EQ(codes_of(q, r)[k], 0);
  }
  set_isa_for_test(best_isa());
}

TEST(QuantizeRows, OneRowAndThreads) {
  const Tensor x = random_tensor({257, 700}, DType::kBF16, 9);
  set_num_threads(1);
  const Int8Rows all = quantize_rows(x);
  set_num_threads(2);
  const Int8Rows again = quantize_rows(x);
  EXPECT_EQ(bytes_of(all.codes), bytes_of(again.codes));
  const Int8Rows last = quantize_rows(x.slice_rows(256, 257));
  EXPECT_EQ(std::memcmp(codes_of(last, 0), codes_of(all, 256), static_cast<size_t>(all.codes.dim(1))), 0);
  EXPECT_EQ(last.scales.data<float>()[0], all.scales.data<float>()[256]);
}

}  // namespace
}  // namespace fathom
