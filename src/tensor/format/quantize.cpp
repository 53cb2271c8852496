#include "tensor/format/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "tensor/format/bf16.h"
#include "tensor/format/block_bytes.h"

namespace fathom {
namespace {

void f16_value(const float* x, uint8_t* b) { store_f16(b, *x); }
void bf16_value(const float* x, uint8_t* b) { store_u16(b, to_bf16(*x).bits); }

// Scale: largest magnitude / 127; values rounded half away from zero with the scale before it was rounded to f16.
void q8_0(const float* x, uint8_t* b) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float d = largest / 127, inverse = std::fabs(d) >= kSmallestNormal ? 1 / d : 0;
  store_f16(b, d);
  for (int i = 0; i < 32; ++i) b[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));
}

// The value of largest magnitude becomes -8 exactly: the side with one step more.
void q4_0(const float* x, uint8_t* b) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const float d = extreme / -8, inverse = std::fabs(d) >= kSmallestNormal ? 1 / d : 0;
  store_f16(b, d);
  const auto level = [&](float value) { return std::min(15, static_cast<int>(value * inverse + 8.5f)); };
  for (int i = 0; i < 16; ++i) b[2 + i] = static_cast<uint8_t>(level(x[i]) | level(x[i + 16]) << 4);
}

// 15 steps from the smallest value to the largest.
void q4_1(const float* x, uint8_t* b) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = (*high - *low) / 15, inverse = d >= kSmallestNormal ? 1 / d : 0, min = *low;
  store_f16(b, d);
  store_f16(b + 2, min);
  const auto level = [&](float value) { return std::min(15, static_cast<int>((value - min) * inverse + 0.5f)); };
  for (int i = 0; i < 16; ++i) b[4 + i] = static_cast<uint8_t>(level(x[i]) | level(x[i + 16]) << 4);
}
// As q4_0 with -16; the fifth bits stand together.
void q5_0(const float* x, uint8_t* b) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const float d = extreme / -16, inverse = std::fabs(d) >= kSmallestNormal ? 1 / d : 0;
  store_f16(b, d);
  uint32_t high = 0;
  const auto level = [&](int i) {
    const uint32_t code = static_cast<uint32_t>(std::min(31, static_cast<int>(x[i] * inverse + 16.5f)));
    high |= (code >> 4) << i;
    return code & 15;
  };
  for (int i = 0; i < 16; ++i) {
    const uint32_t low = level(i);
    b[6 + i] = static_cast<uint8_t>(low | level(i + 16) << 4);
  }
  for (int i = 0; i < 4; ++i) b[2 + i] = static_cast<uint8_t>(high >> (8 * i));
}

QuantizeBlock block_of(GgmlType type) {
  switch (type) {
    case GgmlType::kF16:
      return f16_value;
    case GgmlType::kBF16:
      return bf16_value;
    case GgmlType::kQ8_0:
      return q8_0;
    case GgmlType::kQ4_0:
      return q4_0;
    case GgmlType::kQ4_1:
      return q4_1;
    case GgmlType::kQ5_0:
      return q5_0;
    default:
      return quantize_k(type);
  }
}

}  // namespace

bool can_quantize(GgmlType type) { return type == GgmlType::kF32 || block_of(type) != nullptr; }

void quantize_row(GgmlType type, const float* from, int64_t n, std::byte* to) {
  const GgmlTypeInfo& info = ggml_type_info(type);
  CHECK(can_quantize(type) && n % info.block == 0);
  if (type == GgmlType::kF32) {
    std::memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  const QuantizeBlock block = block_of(type);
  uint8_t* bytes = reinterpret_cast<uint8_t*>(to);
  for (int64_t i = 0; i < n; i += info.block, bytes += info.bytes) block(from + i, bytes);
}

float largest_value(GgmlType type) {
  constexpr float kF16 = 65504;
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kBF16:
      return std::numeric_limits<float>::max();
    case GgmlType::kQ8_0:
      return kF16 * 127;
    case GgmlType::kQ4_0:
      return kF16 * 8;
    case GgmlType::kQ4_1:
      return kF16;
    case GgmlType::kQ5_0:
      return kF16 * 16;
    case GgmlType::kF16:
      return kF16;
    // Scales are at most 63 (Q4_K: a sub-block spans 15 steps) or 128 (Q6_K: 32 steps) times the f16; half is left unused.
    case GgmlType::kQ4_K:
      return kF16 * 63;
    case GgmlType::kQ6_K:
      return kF16 * 128;
    default:
      return 0;
  }
}

}  // namespace fathom
