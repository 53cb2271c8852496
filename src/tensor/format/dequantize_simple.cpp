// Formats with one or two scales a block, in f16 or as an exponent.
#include <bit>

#include "tensor/format/bf16.h"
#include "tensor/format/block_bytes.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/iq_grids.h"

namespace fathom {
namespace {

void f16_value(const uint8_t* b, float* to) { *to = load_f16(b); }
void bf16_value(const uint8_t* b, float* to) { *to = to_float(bf16{load_u16(b)}); }

// Low nibbles are values 0-15, high nibbles 16-31.
void q4_0(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
    to[i + 16] = d * static_cast<float>((b[2 + i] >> 4) - 8);
  }
}
void q4_1(const uint8_t* b, float* to) {
  const float d = load_f16(b), m = load_f16(b + 2);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(b[4 + i] & 15) + m;
    to[i + 16] = d * static_cast<float>(b[4 + i] >> 4) + m;
  }
}
// The fifth bits of the 32 values stand in one word.
void q5_0(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  const uint32_t high = load_u32(b + 2);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(static_cast<int>((b[6 + i] & 15u) | (high >> i & 1) << 4) - 16);
    to[i + 16] = d * static_cast<float>(static_cast<int>((b[6 + i] >> 4) | (high >> (i + 16) & 1) << 4) - 16);
  }
}
void q5_1(const uint8_t* b, float* to) {
  const float d = load_f16(b), m = load_f16(b + 2);
  const uint32_t high = load_u32(b + 4);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>((b[8 + i] & 15u) | (high >> i & 1) << 4) + m;
    to[i + 16] = d * static_cast<float>((b[8 + i] >> 4) | (high >> (i + 16) & 1) << 4) + m;
  }
}
void q8_0(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int i = 0; i < 32; ++i) to[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

void iq4_nl(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * kIq4Values[b[2 + i] & 15];
    to[i + 16] = d * kIq4Values[b[2 + i] >> 4];
  }
}

// Ternary digits: a byte q holds five of them as q / 256 in base 3; digit i is the first after multiplying by 3^i.
float trit(uint8_t q, int i) {
  constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  const uint8_t shifted = static_cast<uint8_t>(q * kPowers[i]);
  return static_cast<float>((shifted * 3 >> 8) - 1);
}
void tq1_0(const uint8_t* b, float* to) {
  const float d = load_f16(b + 52);
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 32; ++j) *to++ = d * trit(b[j], i);
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 16; ++j) *to++ = d * trit(b[32 + j], i);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) *to++ = d * trit(b[48 + j], i);
}
void tq2_0(const uint8_t* b, float* to) {
  const float d = load_f16(b + 64);
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 32; ++j) *to++ = d * static_cast<float>((b[32 * half + j] >> (2 * i) & 3) - 1);
}

// E2M1 values, doubled; so the block's scale is halved.
constexpr float kE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
void mxfp4(const uint8_t* b, float* to) {
  const uint32_t e = b[0];  // 2^(e - 128); the two lowest are subnormal
  const float d = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * kE2m1[b[1 + i] & 15];
    to[i + 16] = d * kE2m1[b[1 + i] >> 4];
  }
}
float half_ue4m3(uint8_t x) {
  if (x == 0 || x == 0x7f) return 0;
  const int e = x >> 3 & 15, m = x & 7;
  const float value = e == 0 ? static_cast<float>(m) * 0x1p-9f
                             : (1 + static_cast<float>(m) / 8) * std::bit_cast<float>(static_cast<uint32_t>(e + 120) << 23);
  return value * 0.5f;
}
void nvfp4(const uint8_t* b, float* to) {
  for (int part = 0; part < 4; ++part) {
    const float d = half_ue4m3(b[part]);
    for (int i = 0; i < 8; ++i) {
      const uint8_t q = b[4 + 8 * part + i];
      to[16 * part + i] = d * kE2m1[q & 15];
      to[16 * part + i + 8] = d * kE2m1[q >> 4];
    }
  }
}

}  // namespace

DequantizeBlock dequantize_simple(GgmlType type) {
  switch (type) {
    case GgmlType::kF16:
      return f16_value;
    case GgmlType::kBF16:
      return bf16_value;
    case GgmlType::kQ4_0:
      return q4_0;
    case GgmlType::kQ4_1:
      return q4_1;
    case GgmlType::kQ5_0:
      return q5_0;
    case GgmlType::kQ5_1:
      return q5_1;
    case GgmlType::kQ8_0:
      return q8_0;
    case GgmlType::kIQ4_NL:
      return iq4_nl;
    case GgmlType::kTQ1_0:
      return tq1_0;
    case GgmlType::kTQ2_0:
      return tq2_0;
    case GgmlType::kMXFP4:
      return mxfp4;
    case GgmlType::kNVFP4:
      return nvfp4;
    default:
      return nullptr;
  }
}

}  // namespace fathom
