// Formats against simple cases and against their own inverse; the fixture's blocks are in checkpoint/gguf_fixture_test.cpp.
#include "tensor/format/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensor/format/bf16.h"
#include "tensor/format/block_bytes.h"
#include "tensor/format/e4m3.h"
#include "tensor/format/k_scales.h"
#include "tensor/format/quantize.h"

namespace fathom {
namespace {

std::vector<float> random_values(size_t n, unsigned seed, float scale, bool heavy_tails) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(n);
  for (float& v : x) v = normal(engine);
  if (heavy_tails)
    for (size_t i = 0; i < n; i += 37) x[i] *= 6;
  return x;
}
std::vector<float> round_trip(GgmlType type, const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<std::byte> bytes(static_cast<size_t>(ggml_row_bytes(type, n)));
  quantize_row(type, x.data(), n, bytes.data());
  std::vector<float> back(x.size());
  dequantize_row(type, bytes.data(), n, back.data());
  return back;
}
double relative_rmse(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
    power += static_cast<double>(x[i]) * x[i];
  }
  return std::sqrt(error / power);
}

TEST(Quantize, ExactTypesKeepTheirValues) {
  const auto x = random_values(512, 1, 0.05f, false);
  EXPECT_EQ(round_trip(GgmlType::kF32, x), x);
  std::vector<float> narrow = x;
  for (float& v : narrow) v = to_float(to_bf16(v));
  EXPECT_EQ(round_trip(GgmlType::kBF16, narrow), narrow);
  for (float& v : narrow) v = to_float(to_f16(v));
  EXPECT_EQ(round_trip(GgmlType::kF16, narrow), narrow);
}

// Values that a format holds exactly come back exactly: scale, signs and places are all right.
TEST(Quantize, RepresentableBlocksComeBack) {
  std::mt19937 engine(2);
  std::vector<float> x(256);
  for (float& v : x) v = 0.25f * static_cast<float>(static_cast<int>(engine() % 16) - 8);
  for (size_t i = 0; i < 256; i += 32) x[i] = -2;  // -8 steps of 0.25
  EXPECT_EQ(round_trip(GgmlType::kQ4_0, x), x);
  for (float& v : x) v = 0.5f * static_cast<float>(static_cast<int>(engine() % 255) - 127);
  for (size_t i = 0; i < 256; i += 32) x[i] = -63.5f;
  EXPECT_EQ(round_trip(GgmlType::kQ8_0, x), x);
  for (size_t i = 0; i < 256; ++i) {  // scale 63 and min 63 in each sub-block, d 2^-6, dmin 2^-4
    const float q = i % 32 == 0 ? 0.f : i % 32 == 1 ? 15.f : static_cast<float>(engine() % 16);
    x[i] = 63 * 0x1p-6f * q - 63 * 0x1p-4f;
  }
  const auto back = round_trip(GgmlType::kQ4_K, x);
  for (size_t i = 0; i < 256; ++i) EXPECT_NEAR(back[i], x[i], 4e-3f) << i;
}

TEST(Quantize, ZerosStayZeros) {
  const std::vector<float> zeros(256, 0.f);
  for (const GgmlType type : {GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_K, GgmlType::kQ6_K})
    EXPECT_EQ(round_trip(type, zeros), zeros);
}

// Tiny, huge and constant blocks: finite output, no undefined conversion (the sanitizers watch).
TEST(Quantize, ExtremeBlocks) {
  for (const GgmlType type : {GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_K, GgmlType::kQ6_K})
    for (const float scale : {1e-45f, 1e-38f, 1e-20f, 1e-7f, 1.f, 1e5f, 1e30f}) {
      std::vector<float> x = random_values(256, 3, 1, true);
      for (float& v : x) v *= scale;
      round_trip(type, x);
      std::fill(x.begin(), x.end(), scale);
      const auto positive = round_trip(type, x);
      std::fill(x.begin(), x.end(), -scale);
      const auto negative = round_trip(type, x);
      if (scale < 1e-3f || scale > 1e4f) continue;
      for (size_t i = 0; i < 256; ++i) {
        EXPECT_NEAR(positive[i], scale, 0.01f * scale) << ggml_type_info(type).name;
        EXPECT_NEAR(negative[i], -scale, 0.01f * scale) << ggml_type_info(type).name;
      }
    }
}

// Relative RMSE of normal and heavy-tailed values. The bounds are what llama.cpp's quantiser leaves on such values
// (llama-quantize without an importance matrix, measured on the same distributions): ours may not be worse.
TEST(Quantize, ErrorIsNoWorseThanLlamaCpp) {
  const auto normal = random_values(256 * 400, 4, 0.02f, false), heavy = random_values(256 * 400, 5, 0.02f, true);
  struct Bound {
    GgmlType type;
    double normal, heavy;
  };
  for (const Bound& b : {Bound{GgmlType::kQ8_0, 0.00535026, 0.00918955}, Bound{GgmlType::kQ4_0, 0.0858416, 0.1454657},
                         Bound{GgmlType::kQ4_K, 0.0712805, 0.0938070}, Bound{GgmlType::kQ6_K, 0.0177247, 0.0269021}}) {
    EXPECT_LE(relative_rmse(normal, round_trip(b.type, normal)), b.normal) << ggml_type_info(b.type).name;
    EXPECT_LE(relative_rmse(heavy, round_trip(b.type, heavy)), b.heavy) << ggml_type_info(b.type).name;
    RecordProperty(ggml_type_info(b.type).name, std::to_string(relative_rmse(normal, round_trip(b.type, normal))));
  }
}

TEST(Dequantize, ScalesPackAndUnpack) {
  uint8_t bytes[12] = {};
  for (int j = 0; j < 8; ++j) pack_k_scale(bytes, j, {(j * 11 + 5) % 64, (j * 29 + 3) % 64});
  for (int j = 0; j < 8; ++j) {
    EXPECT_EQ(unpack_k_scale(bytes, j).scale, (j * 11 + 5) % 64);
    EXPECT_EQ(unpack_k_scale(bytes, j).min, (j * 29 + 3) % 64);
  }
}

TEST(Dequantize, EveryTypeReadsAnyBytes) {
  std::mt19937 engine(6);
  for (uint32_t number = 0; number < 64; ++number) {
    const GgmlTypeInfo* info = find_ggml_type(number);
    if (!info || !info->real) continue;
    std::vector<std::byte> bytes(static_cast<size_t>(info->bytes) * 64 + 1);
    for (std::byte& b : bytes) b = static_cast<std::byte>(engine());
    std::vector<float> values(static_cast<size_t>(info->block) * 64);
    dequantize_row(info->type, bytes.data() + 1, static_cast<int64_t>(values.size()), values.data());  // unaligned too
    EXPECT_EQ(find_ggml_type(std::string_view(info->name)), info);
  }
}

TEST(E4m3, RoundsToTheNearestValue) {
  for (int code = 0; code < 0x7f; ++code) {  // positive, in rising order
    const float x = e4m3_to_float(static_cast<uint8_t>(code));
    EXPECT_EQ(e4m3_from_float(x), code);
    EXPECT_EQ(e4m3_from_float(-x), code | 0x80);
    if (code == 0x7e) break;  // the largest, 448
    const float next = e4m3_to_float(static_cast<uint8_t>(code + 1)), middle = (x + next) / 2;
    EXPECT_EQ(e4m3_from_float(middle), code % 2 ? code + 1 : code) << middle;
    EXPECT_EQ(e4m3_from_float(std::nextafter(middle, 0.f)), code) << middle;
    EXPECT_EQ(e4m3_from_float(std::nextafter(middle, 1e9f)), code + 1) << middle;
  }
  EXPECT_EQ(e4m3_from_float(1e30f), 0x7e);
  EXPECT_EQ(e4m3_from_float(-INFINITY), 0xfe);
  EXPECT_TRUE(e4m3_is_nan(e4m3_from_float(NAN)));
}

}  // namespace
}  // namespace fathom
