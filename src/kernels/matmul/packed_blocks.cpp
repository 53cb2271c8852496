// Weights in blocks, into panels (block_format.h): codes and scales move, none changes its value.
#include <emmintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/kernel.h"
#include "kernels/matmul/pack_int8.h"
#include "kernels/matmul/packed.h"
#include "tensor/format/block_bytes.h"
#include "tensor/format/k_scales.h"

namespace fathom {
namespace {

// One row of a panel: where it stands in its part.
struct Lane {
  const WeightPart* part;
  int64_t row;
  const uint8_t* bytes() const {  // of k = 0
    const uint8_t* base = reinterpret_cast<const uint8_t*>(part->values.raw());
    return part->transposed ? base + row : base + row * part->values.row_stride() * dtype_bytes(part->values.dtype());
  }
  const uint8_t* block(int64_t k) const {  // of GGUF's types
    const GgmlTypeInfo& info = ggml_type_info(part->type);
    return bytes() + k / info.block * info.bytes;
  }
  float fp8_scale(int64_t k) const {
    const int64_t block_row = (part->first_row + (part->transposed ? k : row)) / kFp8Block,
                  block_column = (part->transposed ? row : k) / kFp8Block;
    return part->scales.row<float>(block_row)[block_column];
  }
};

// ---- codes: a block's k of each lane as bytes, in the order of k

using Codes = uint8_t[kPanel][kBlockK];

void split_nibbles(const uint8_t* from, int64_t n, uint8_t* low, uint8_t* high) {
  for (int64_t i = 0; i < n; ++i) {
    low[i] = from[i] & 15;
    high[i] = from[i] >> 4;
  }
}
// Two codes a byte beside each other, the low one first.
void split_pairs(const uint8_t* from, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    to[2 * i] = from[i] & 15;
    to[2 * i + 1] = from[i] >> 4;
  }
}
// k in [k0, k0 + kc) of one lane.
void read_codes(WeightFormat format, const Lane& lane, int64_t k0, int64_t kc, uint8_t* to) {
  switch (format) {
    case WeightFormat::kPlain:
      break;
    case WeightFormat::kFp8Block:
    case WeightFormat::kInt8Row:
      std::memcpy(to, lane.bytes() + k0, static_cast<size_t>(kc));
      break;
    case WeightFormat::kInt4Group32:
    case WeightFormat::kInt4Group128:
      split_pairs(lane.bytes() + k0 / 2, kc / 2, to);
      break;
    case WeightFormat::kQ8_0:
      for (int64_t k = 0; k < kc; k += 32) std::memcpy(to + k, lane.block(k0 + k) + 2, 32);
      break;
    case WeightFormat::kQ4_0:
    case WeightFormat::kQ4_1:
      for (int64_t k = 0; k < kc; k += 32)
        split_nibbles(lane.block(k0 + k) + (format == WeightFormat::kQ4_0 ? 2 : 4), 16, to + k, to + k + 16);
      break;
    case WeightFormat::kQ5_0:
      for (int64_t k = 0; k < kc; k += 32) {
        const uint8_t* block = lane.block(k0 + k);
        split_nibbles(block + 6, 16, to + k, to + k + 16);
        const uint32_t high = load_u32(block + 2);
        for (int i = 0; i < 32; ++i) to[k + i] = static_cast<uint8_t>(to[k + i] | (high >> i & 1) << 4);
      }
      break;
    case WeightFormat::kQ4_K: {  // 32 bytes hold 32 k in their low nibbles, the next 32 in the high ones
      const uint8_t* q = lane.block(k0) + 16 + k0 % 256 / 2;
      for (int64_t k = 0; k < kc; k += 64, q += 32) split_nibbles(q, 32, to + k, to + k + 32);
      break;
    }
    case WeightFormat::kQ6_K: {
      const uint8_t* block = lane.block(k0);
      const uint8_t *low = block + k0 % 256 / 2, *high = block + 128 + k0 % 256 / 4;
      for (int quarter = 0; quarter < 4; ++quarter)
        for (int i = 0; i < 32; ++i)
          to[32 * quarter + i] = static_cast<uint8_t>((low[32 * (quarter % 2) + i] >> (4 * (quarter / 2)) & 15) |
                                                      (high[i] >> (2 * quarter) & 3) << 4);
      break;
    }
  }
}

__m128i load16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
void store16(uint8_t* p, __m128i x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x); }
// 4 x 4 transpose of 32-bit words: row i of the result goes to out + i * stride.
void store_transposed(const __m128i r[4], uint8_t* out, int64_t stride) {
  const __m128i a = _mm_unpacklo_epi32(r[0], r[1]), b = _mm_unpacklo_epi32(r[2], r[3]), c = _mm_unpackhi_epi32(r[0], r[1]),
                d = _mm_unpackhi_epi32(r[2], r[3]);
  store16(out, _mm_unpacklo_epi64(a, b));
  store16(out + stride, _mm_unpackhi_epi64(a, b));
  store16(out + 2 * stride, _mm_unpacklo_epi64(c, d));
  store16(out + 3 * stride, _mm_unpackhi_epi64(c, d));
}

// 64 bytes a pair of k; in 16-byte lane L columns 4L..4L+3 and 16+4L..16+4L+3.
void lay_bytes(const Codes& codes, int64_t padded, uint8_t* out) {
  for (int64_t lane = 0; lane < 4; ++lane)
    for (int64_t k = 0; k < padded; k += 8) {
      __m128i r[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t column = 4 * lane + 2 * (i % 2) + 16 * (i / 2);
        r[i] = _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes[column] + k)),
                                  _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes[column + 1] + k)));
      }
      store_transposed(r, out + k / 2 * 64 + lane * 16, 64);
    }
}
// 64 bytes for 4 k: word i holds columns i and i + 16.
void lay_nibbles(const Codes& codes, int64_t padded, uint8_t* out) {
  const __m128i low = _mm_set1_epi8(15), outer = _mm_set1_epi32(static_cast<int>(0xff0000ff)), third = _mm_set1_epi32(0xff0000),
                second = _mm_set1_epi32(0xff00);
  for (int64_t column = 0; column < 16; column += 4)
    for (int64_t k = 0; k < padded; k += 16) {
      __m128i r[4];
      for (int64_t i = 0; i < 4; ++i) {
        const __m128i x =
            _mm_or_si128(_mm_and_si128(load16(codes[column + i] + k), low),
                         _mm_slli_epi16(_mm_and_si128(load16(codes[column + i + 16] + k), low), 4));  // of 4 k: bytes 0 1 2 3
        r[i] = _mm_or_si128(_mm_and_si128(x, outer), _mm_or_si128(_mm_and_si128(_mm_slli_epi32(x, 8), third),
                                                                  _mm_and_si128(_mm_srli_epi32(x, 8), second)));  // 0 2 1 3
      }
      store_transposed(r, out + k * 16 + column * 4, 64);
    }
}
// The bits above a nibble, kHigh of them: 64 bytes for 16 / kHigh k.
template <int kHigh>
void lay_upper(const Codes& codes, int64_t padded, uint8_t* out) {
  constexpr int kQuads = 4 / kHigh;
  for (int64_t column = 0; column < 16; ++column)
    for (int64_t k = 0; k < padded; k += 4 * kQuads) {
      uint32_t word = 0;
      for (int q = 0; q < kQuads; ++q) {
        uint32_t a, b;  // 4 k of columns i and i + 16
        std::memcpy(&a, codes[column] + k + 4 * q, 4);
        std::memcpy(&b, codes[column + 16] + k + 4 * q, 4);
        const uint32_t x = (a >> 4 & 0x0f0f0f0f) | (b >> 4 & 0x0f0f0f0f) << kHigh;              // a byte a k, 2 kHigh bits
        word |= ((x & 0xff0000ff) | (x >> 8 & 0xff00) | (x & 0xff00) << 8) << (2 * kHigh * q);  // 0 2 1 3
      }
      std::memcpy(out + k / (4 * kQuads) * 64 + column * 4, &word, 4);
    }
}
void lay_codes(WeightFormat format, const Codes& codes, int64_t padded, uint8_t* out) {
  const int64_t bits = block_layout(format).code_bits;
  if (format == WeightFormat::kFp8Block) {  // [k][32]
    for (int64_t half = 0; half < kPanel; half += 16)
      for (int64_t k = 0; k < padded; k += 16) {
        // Each round interleaves row i with row i + 8: after four, row and column have changed places.
        __m128i a[16], b[16];
        for (int i = 0; i < 16; ++i) a[i] = load16(codes[half + i] + k);
        for (int round = 0; round < 4; ++round) {
          for (int i = 0; i < 8; ++i) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
          }
          std::memcpy(a, b, sizeof a);
        }
        for (int i = 0; i < 16; ++i) store16(out + (k + i) * kPanel + half, a[i]);
      }
  } else if (bits == 8) {
    lay_bytes(codes, padded, out);
  } else {
    lay_nibbles(codes, padded, out);
    if (bits == 5) lay_upper<1>(codes, padded, out + padded * kPanel / 2);
    if (bits == 6) lay_upper<2>(codes, padded, out + padded * kPanel / 2);
  }
}

// ---- scales

void put_f16(uint8_t* out, int64_t index, const uint8_t* from) { std::memcpy(out + index * 2, from, 2); }
bool f16_is_finite(const uint8_t* p) { return (load_u16(p) & 0x7c00) != 0x7c00; }

// The header of a block, column by column. False: a scale is not finite.
bool lay_scales(WeightFormat format, const Lane* lanes, int64_t count, int64_t k0, int64_t kc, uint8_t* out) {
  std::memset(out, 0, static_cast<size_t>(block_layout(format).header));
  bool finite = true;
  for (int64_t c = 0; c < count; ++c) {
    switch (format) {
      case WeightFormat::kPlain:
      case WeightFormat::kInt8Row:
        break;
      case WeightFormat::kFp8Block: {
        const float scale = lanes[c].fp8_scale(k0) / kFp8Widened;
        finite &= std::isfinite(scale);
        std::memcpy(out + c * 4, &scale, 4);
        break;
      }
      case WeightFormat::kInt4Group32:
      case WeightFormat::kInt4Group128: {
        const int64_t group = block_layout(format).group;
        const float* scales = lanes[c].part->scales.row<float>(lanes[c].row) + k0 / group;
        for (int64_t i = 0; i < kc / group; ++i) {
          finite &= std::isfinite(scales[i]);
          std::memcpy(out + (i * kPanel + c) * 4, scales + i, 4);
        }
        break;
      }
      case WeightFormat::kQ8_0:
      case WeightFormat::kQ4_0:
      case WeightFormat::kQ4_1:
      case WeightFormat::kQ5_0:
        for (int64_t group = 0; group < kc / 32; ++group) {
          const uint8_t* block = lanes[c].block(k0 + 32 * group);
          put_f16(out, group * kPanel + c, block);
          finite &= f16_is_finite(block);
          if (format != WeightFormat::kQ4_1) continue;
          put_f16(out, (4 + group) * kPanel + c, block + 2);
          finite &= f16_is_finite(block + 2);
        }
        break;
      case WeightFormat::kQ4_K: {
        const uint8_t* block = lanes[c].block(k0);
        put_f16(out, c, block);
        put_f16(out, kPanel + c, block + 2);
        finite &= f16_is_finite(block) && f16_is_finite(block + 2);
        for (int64_t group = 0; group < 4; ++group) {
          const KScale scale = unpack_k_scale(block + 4, static_cast<int>(k0 % 256 / 32 + group));
          out[128 + group * kPanel + c] = static_cast<uint8_t>(scale.scale);
          out[256 + group * kPanel + c] = static_cast<uint8_t>(scale.min);
        }
        break;
      }
      case WeightFormat::kQ6_K: {
        const uint8_t* block = lanes[c].block(k0);
        put_f16(out, c, block + 208);
        finite &= f16_is_finite(block + 208);
        for (int64_t group = 0; group < 8; ++group) out[64 + group * kPanel + c] = block[192 + k0 % 256 / 16 + group];
        break;
      }
    }
  }
  return finite;
}

bool any_nan_e4m3(const Codes& codes, int64_t count, int64_t k) {
  bool any = false;
  for (int64_t c = 0; c < count; ++c)
    for (int64_t i = 0; i < k; ++i) any |= (codes[c][i] & 0x7f) == 0x7f;
  return any;
}

void check_part(const WeightPart& part) {
  CHECK_EQ(part.values.rank(), 2);
  switch (part.format()) {
    case WeightFormat::kFp8Block:
      CHECK(part.scales.rank() == 2 && part.scales.dtype() == DType::kF32 && part.blocks_fit());
      break;
    case WeightFormat::kInt8Row:
      CHECK(part.scales.numel() == part.rows() && part.scales.dtype() == DType::kF32 && !part.transposed);
      break;
    case WeightFormat::kInt4Group32:
    case WeightFormat::kInt4Group128:
      CHECK(part.scales.rows() == part.rows() && part.scales.dtype() == DType::kF32 && !part.transposed);
      break;
    default:
      CHECK(!part.transposed && part.values.dim(1) % ggml_type_info(part.type).bytes == 0);
  }
}

}  // namespace

void PackedMatrix::pack_blocks(std::span<const WeightPart> parts, std::span<const int64_t> begins, std::byte* to) {
  for (const WeightPart& part : parts) {
    check_part(part);
    CHECK(!part.transposed || parts.size() == 1);
  }
  const WeightFormat format = parts[0].format();
  const BlockLayout layout = block_layout(format);
  const bool int8 = activations_ == Activations::kInt8;
  const int64_t n = begins.back(), k = k_, panel_bytes = int8 ? int8_panel_bytes(format, k) : block_panel_bytes(format, k);
  std::atomic<bool> nan{false};
  parallel_for((n + kPanel - 1) / kPanel, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
               [&](int64_t begin, int64_t end) {
                 bool bad = false;
                 alignas(64) Codes codes;
                 for (int64_t i = begin; i < end; ++i) {
                   uint8_t* out = reinterpret_cast<uint8_t*>(to) + i * panel_bytes;
                   const int64_t row = i * kPanel, count = std::min(kPanel, n - row);
                   Lane lanes[kPanel];
                   size_t part = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
                   for (int64_t r = 0; r < count; ++r) {
                     while (row + r >= begins[part + 1]) ++part;
                     lanes[r] = {&parts[part], row + r - begins[part]};
                   }
                   uint8_t* const factors = out + layout.head;
                   if (layout.head) {  // a scale a row
                     float scales[kPanel] = {};
                     for (int64_t r = 0; r < count; ++r) scales[r] = lanes[r].part->scales.data<float>()[lanes[r].row];
                     for (const float s : scales) bad |= !std::isfinite(s);
                     std::memcpy(out, scales, sizeof scales);
                   }
                   out += int8 ? int8_head_bytes(format, k) : layout.head;
                   for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
                     const int64_t kc = std::min(kBlockK, k - k0), padded = padded_k(kc);
                     alignas(64) uint8_t header[kMaxBlockHeader];
                     bad |= !lay_scales(format, lanes, count, k0, kc, int8 ? header : out);
                     if (!int8) out += layout.header;
                     if (kc < kBlockK || count < kPanel) std::memset(codes, 0, sizeof codes);
                     if (lanes[0].part->transposed) {  // a memory row is one k; lanes of a panel lie beside each other
                       const int64_t ld = lanes[0].part->values.row_stride();
                       for (int64_t j = 0; j < kc; ++j)
                         for (int64_t r = 0; r < count; ++r) codes[r][j] = lanes[0].bytes()[(k0 + j) * ld + r];
                     } else {
                       for (int64_t r = 0; r < count; ++r) read_codes(format, lanes[r], k0, kc, codes[r]);
                     }
                     if (format == WeightFormat::kFp8Block) bad |= any_nan_e4m3(codes, count, kc);
                     if (int8) {
                       out = lay_int8_block(format, header, codes, kc, factors + k0 / 256 * int8_layout(format).factors, out);
                       continue;
                     }
                     lay_codes(format, codes, padded, out);
                     out += padded * kPanel * layout.code_bits / 8;
                   }
                 }
                 if (bad) nan.store(true, std::memory_order_relaxed);
               });
  has_nan_ |= nan.load();
}

}  // namespace fathom
