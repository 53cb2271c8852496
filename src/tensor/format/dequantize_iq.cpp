// IQ types: groups of 4 or 8 values are points of a lattice, times signs, times scales.
#include <bit>

#include "tensor/format/block_bytes.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/iq_grids.h"

namespace fathom {
namespace {

constexpr float kLevels2[4] = {8, 25, 43, 0};
constexpr float kLevels3Xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr float kLevels3S[8] = {1, 3, 5, 7, 9, 11, 13, 15};

float grid8(uint16_t word, int i) { return kLevels2[word >> (2 * i) & 3]; }
float signed_by(unsigned signs, int i, float x) { return signs >> i & 1 ? -x : x; }
// Seven stored signs; the eighth makes the number of minus signs even.
unsigned with_parity(unsigned seven) { return seven | (static_cast<unsigned>(std::popcount(seven)) & 1u) << 7; }
float quarter_scale(float d, unsigned nibble) { return d * (0.5f + static_cast<float>(nibble)) * 0.25f; }

// f16 d; per 32 values: 4 B of points, a word of 4 x 7 signs and a 4-bit scale.
void iq2_xxs(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* q = b + 2 + 8 * group;
    const uint32_t word = load_u32(q + 4);
    const float scale = quarter_scale(d, word >> 28);
    for (int k = 0; k < 4; ++k) {
      const unsigned signs = with_parity(word >> (7 * k) & 127);
      for (int i = 0; i < 8; ++i) *to++ = signed_by(signs, i, scale * grid8(kIq2XxsGrid[q[k]], i));
    }
  }
}
// f16 d; per 8 values: 9 bits of point, 7 signs; then 16 4-bit scales.
void iq2_xs(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int k = 0; k < 32; ++k) {
    const unsigned q = load_u16(b + 2 + 2 * k), signs = with_parity(q >> 9);
    const float scale = quarter_scale(d, b[66 + k / 4] >> (4 * (k / 2 % 2)) & 15);
    for (int i = 0; i < 8; ++i) *to++ = signed_by(signs, i, scale * grid8(kIq2XsGrid[q & 511], i));
  }
}
// f16 d, 32 B of points, 32 B of signs, 8 B of upper point bits, 8 B of scales.
void iq2_s(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int k = 0; k < 32; ++k) {
    const unsigned q = b[2 + k] | (b[66 + k / 4] >> (2 * (k % 4)) & 3u) << 8, signs = b[34 + k];
    const float scale = quarter_scale(d, b[74 + k / 4] >> (4 * (k / 2 % 2)) & 15);
    for (int i = 0; i < 8; ++i) *to++ = signed_by(signs, i, scale * grid8(kIq2SGrid[q], i));
  }
}
// f16 d, 64 B of points of 4 values, 8 words of 4 x 7 signs and a 4-bit scale.
void iq3_xxs(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = load_u32(b + 66 + 4 * group);
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    for (int k = 0; k < 4; ++k) {
      const unsigned signs = with_parity(word >> (7 * k) & 127);
      for (int i = 0; i < 8; ++i) {
        const uint16_t point = kIq3XxsGrid[b[2 + 8 * group + 2 * k + i / 4]];
        *to++ = signed_by(signs, i, scale * kLevels3Xxs[point >> (4 * (i % 4)) & 7]);
      }
    }
  }
}
// f16 d, 64 B of points, 8 B of ninth point bits, 32 B of signs, 4 B of scales.
void iq3_s(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int k = 0; k < 64; ++k) {
    const int group = k / 8;
    const unsigned q = b[2 + k] | (b[66 + group] >> (k % 8) & 1u) << 8, signs = b[74 + k / 2] >> (4 * (k % 2));
    const float scale = d * static_cast<float>(1 + 2 * (b[106 + group / 2] >> (4 * (group % 2)) & 15));
    for (int i = 0; i < 4; ++i) *to++ = signed_by(signs, i, scale * kLevels3S[kIq3SGrid[q] >> (4 * i) & 7]);
  }
}

constexpr float kDelta = 0.125f;
float grid1(unsigned q, int i) { return static_cast<float>(static_cast<int>(kIq1Grid[q] >> (2 * i) & 3) - 1); }
// f16 d, 32 B of points, 8 words: 4 x 3 upper point bits, 3-bit scale, sign of the shift.
void iq1_s(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  for (int k = 0; k < 32; ++k) {
    const unsigned word = load_u16(b + 34 + 2 * (k / 4)), q = b[2 + k] | (word >> (3 * (k % 4)) & 7) << 8;
    const float scale = d * static_cast<float>(2 * (word >> 12 & 7) + 1), delta = word & 0x8000 ? -kDelta : kDelta;
    for (int i = 0; i < 8; ++i) *to++ = scale * (grid1(q, i) + delta);
  }
}
// 32 B of points, 16 B of 3 upper bits and a shift sign, 4 words of 4 x 3-bit scales; their top nibbles are the f16 d.
void iq1_m(const uint8_t* b, float* to) {
  uint16_t bits = 0;
  for (int i = 0; i < 4; ++i) bits = static_cast<uint16_t>(bits | (load_u16(b + 48 + 2 * i) >> 12) << (4 * i));
  const float d = to_float(f16{bits});
  for (int k = 0; k < 32; ++k) {
    const unsigned high = b[32 + k / 2] >> (4 * (k % 2)) & 15, q = b[k] | (high & 7) << 8;
    const unsigned scales = load_u16(b + 48 + 2 * (k / 8));
    const float scale = d * static_cast<float>(2 * (scales >> (3 * (k / 2 % 4)) & 7) + 1), delta = high & 8 ? -kDelta : kDelta;
    for (int i = 0; i < 8; ++i) *to++ = scale * (grid1(q, i) + delta);
  }
}

// f16 d, a word of upper and 4 B of lower scale bits, 128 B of indices.
void iq4_xs(const uint8_t* b, float* to) {
  const float d = load_f16(b);
  const unsigned high = load_u16(b + 2);
  for (int s = 0; s < 8; ++s) {
    const int scale = (b[4 + s / 2] >> (4 * (s % 2)) & 15) | static_cast<int>(high >> (2 * s) & 3) << 4;
    const float dl = d * static_cast<float>(scale - 32);
    const uint8_t* q = b + 8 + 16 * s;
    for (int i = 0; i < 16; ++i) to[i] = dl * kIq4Values[q[i] & 15];
    for (int i = 0; i < 16; ++i) to[i + 16] = dl * kIq4Values[q[i] >> 4];
    to += 32;
  }
}

}  // namespace

DequantizeBlock dequantize_iq(GgmlType type) {
  switch (type) {
    case GgmlType::kIQ2_XXS:
      return iq2_xxs;
    case GgmlType::kIQ2_XS:
      return iq2_xs;
    case GgmlType::kIQ2_S:
      return iq2_s;
    case GgmlType::kIQ3_XXS:
      return iq3_xxs;
    case GgmlType::kIQ3_S:
      return iq3_s;
    case GgmlType::kIQ1_S:
      return iq1_s;
    case GgmlType::kIQ1_M:
      return iq1_m;
    case GgmlType::kIQ4_XS:
      return iq4_xs;
    default:
      return nullptr;
  }
}

}  // namespace fathom
