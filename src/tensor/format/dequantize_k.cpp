// K types: 256 values, sub-blocks whose scales are small integers on one or two f16 scales.
#include "tensor/format/block_bytes.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/k_scales.h"

namespace fathom {
namespace {

// 16 B scale|min nibbles, 64 B of 2-bit values, f16 d, f16 dmin.
void q2_k(const uint8_t* b, float* to) {
  const float d = load_f16(b + 80), dmin = load_f16(b + 82);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(b[s] & 15), min = dmin * static_cast<float>(b[s] >> 4);
    const uint8_t* q = b + 16 + 32 * (s / 8) + 16 * (s % 2);
    const int shift = 2 * (s % 8 / 2);
    for (int i = 0; i < 16; ++i) *to++ = scale * static_cast<float>(q[i] >> shift & 3) - min;
  }
}

// 32 B of third bits (set: no offset), 64 B of 2-bit values, 12 B of 6-bit scales, f16 d.
void q3_k(const uint8_t* b, float* to) {
  const uint8_t* scales = b + 96;
  const float d = load_f16(b + 108);
  for (int s = 0; s < 16; ++s) {
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
    const int high = scales[8 + s % 4] >> (2 * (s / 4)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const int at = 16 * (s % 2), plane = s / 2;
    const uint8_t *q = b + 32 + 32 * (s / 8) + at, *mask = b + at;
    for (int i = 0; i < 16; ++i) {
      const int value = (q[i] >> (2 * (plane % 4)) & 3) - (mask[i] >> plane & 1 ? 0 : 4);
      *to++ = scale * static_cast<float>(value);
    }
  }
}

// f16 d, f16 dmin, 12 B scales, 128 B: low nibbles are sub-block 2g, high nibbles 2g+1.
void q4_k(const uint8_t* b, float* to) {
  const float d = load_f16(b), dmin = load_f16(b + 2);
  for (int s = 0; s < 8; ++s) {
    const KScale k = unpack_k_scale(b + 4, s);
    const float scale = d * static_cast<float>(k.scale), min = dmin * static_cast<float>(k.min);
    const uint8_t* q = b + 16 + 32 * (s / 2);
    for (int i = 0; i < 32; ++i) *to++ = scale * static_cast<float>(q[i] >> (4 * (s % 2)) & 15) - min;
  }
}
// As Q4_K with 32 B of fifth bits before the nibbles: bit s of byte i belongs to value i of sub-block s.
void q5_k(const uint8_t* b, float* to) {
  const float d = load_f16(b), dmin = load_f16(b + 2);
  for (int s = 0; s < 8; ++s) {
    const KScale k = unpack_k_scale(b + 4, s);
    const float scale = d * static_cast<float>(k.scale), min = dmin * static_cast<float>(k.min);
    const uint8_t *high = b + 16, *q = b + 48 + 32 * (s / 2);
    for (int i = 0; i < 32; ++i)
      *to++ = scale * static_cast<float>((q[i] >> (4 * (s % 2)) & 15) | (high[i] >> s & 1) << 4) - min;
  }
}

// 128 B low nibbles, 64 B of upper 2 bits, 16 B signed scales, f16 d.
void q6_k(const uint8_t* b, float* to) {
  const float d = load_f16(b + 208);
  for (int half = 0; half < 2; ++half)
    for (int quarter = 0; quarter < 4; ++quarter)
      for (int l = 0; l < 32; ++l) {
        const int at = 128 * half + 32 * quarter + l;
        const int low = b[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
        const int high = b[128 + 32 * half + l] >> (2 * quarter) & 3;
        const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + at / 16]));
        to[at] = scale * static_cast<float>((low | high << 4) - 32);
      }
}

}  // namespace

DequantizeBlock dequantize_k(GgmlType type) {
  switch (type) {
    case GgmlType::kQ2_K:
      return q2_k;
    case GgmlType::kQ3_K:
      return q3_k;
    case GgmlType::kQ4_K:
      return q4_k;
    case GgmlType::kQ5_K:
      return q5_k;
    case GgmlType::kQ6_K:
      return q6_k;
    default:
      return nullptr;
  }
}

}  // namespace fathom
