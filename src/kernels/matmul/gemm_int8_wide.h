// gemm_int8_tile.h where there is no VPDPBUSD: a block of the weight is laid out once for all rows in the form that multiplies
// fastest, so that the loop over k is a load of a row, a product and an addition. The integers are the same.
//   4-bit codes   as bytes for VPMADDUBSW: two of its products make 2 x 15 x 127 at most, and a group's eight fit 16 bits; of 5
//                 bits four do, of 6 bits two
//   8-bit codes   and rows as words for VPMADDWD: VPMADDUBSW would saturate
// Additions run on four ports where FMA has two. Included by *_cpu.cpp files.
#pragma once
#include "backend/cpu/dot_words.h"
#include "kernels/matmul/gemm_int8_tile.h"

namespace fathom::FATHOM_RUNG {
namespace {

constexpr int kWideRows = 6;     // by 16 columns in registers
constexpr int64_t kWideK = 256;  // k of a block: 8 KiB of half a panel and 3 KiB of rows share L1

// How a block is laid out for a format. A turn of the loop over k is a 32-bit word of each row by 64 bytes of half a panel.
template <class F>
struct Wide {
  static constexpr bool kBytes = F::kLayout.code_bits < 8;
  static constexpr int64_t kTurnK = kBytes ? 4 : 2;
  static constexpr int kRows = kBytes && F::kWordK < 32 ? 3 : kWideRows;  // with sums of 16 and of 32 bits, half as many
  // A row of a block: its turns, then of the block's 32 k each what int8_rows.h has: sums, of the first halves, scales. Of
  // 8-bit codes, a quad of k is two turns: the even ones, then the odd ones. Rows are an odd count of lines apart.
  static constexpr int64_t kSums = kWideK / kTurnK * 4, kSumBytes = kWideK / 8, kRowBytes = kSums + 192;
  static constexpr int64_t kHalfBytes = kWideK / kTurnK * 64;
};

struct WideArgs {
  const char* a;                 // row r at a + r kRowBytes
  const char* b;                 // half a panel
  const char *factors, *header;  // of the first 256 k, of the first group
  int64_t half;
  int64_t k;    // a multiple of the group
  float* sums;  // [R][16]
  bool resume;
};

// By the instruction's name, as dot_words() has it.
FATHOM_INLINE void add_shorts(__m256i& sum, __m256i x) { __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(x)); }

template <class F, int R>
FATHOM_INLINE void multiply_wide(const char* a, const char* b, int64_t k, I32 (&acc)[R]) {
  for (int64_t turn = 0; turn < k / Wide<F>::kTurnK; ++turn, a += 4, b += 64) {
    const I32 column = load_i32(b);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m256i row = _mm256_set1_epi32(load_word(a + r * Wide<F>::kRowBytes));
      if constexpr (Wide<F>::kBytes) {
        add_shorts(acc[r].lo, _mm256_maddubs_epi16(column.lo, row));
        add_shorts(acc[r].hi, _mm256_maddubs_epi16(column.hi, row));
      } else {
        acc[r] = dot_words(acc[r], Pairs{column.lo, column.hi}, Pairs{row, row});
      }
    }
  }
}

template <class F, int R>
void micro_wide(const WideArgs& x) {
  constexpr int64_t kGroup = F::kLayout.group;
  I32 acc[R];
  float* const sums = x.sums;
  if (!x.resume)
    for (int r = 0; r < R; ++r) store(sums + r * 16, zero());
  if constexpr (F::kColumnScale) {
    for (int64_t k = 0; k < x.k; k += kGroup) {
      const char* a_sums = x.a + Wide<F>::kSums + k / 8;
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) acc[r] = F::start(load_word(a_sums + r * Wide<F>::kRowBytes));
      multiply_wide<F, R>(x.a + k / Wide<F>::kTurnK * 4, x.b + k / Wide<F>::kTurnK * 64, kGroup, acc);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r)
        store(sums + r * 16,
              fma(to_f32(acc[r]), set1(row_scale(a_sums + r * Wide<F>::kRowBytes, Wide<F>::kSumBytes)), load(sums + r * 16)));
    }
  } else {
    for (int64_t k = 0; k < x.k; k += kGroup) {
      const char *a_sums = x.a + Wide<F>::kSums + k / 8, *header = x.header + k / kGroup * int8_group_bytes(F::kFormat);
      const char *a = x.a + k / Wide<F>::kTurnK * 4, *b = x.b + k / Wide<F>::kTurnK * 64;
      I32 total[R];
      I32 halves[2] = {ones_words(), ones_words()};  // what the sums of 16 bits of either half are multiplied with
      if constexpr (!Wide<F>::kBytes) {
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) total[r] = F::start(load_word(a_sums + r * Wide<F>::kRowBytes));
        multiply_wide<F, R>(a, b, kGroup, total);
      } else {
        if constexpr (F::kHalves)
          for (int i = 0; i < 2; ++i) {
            const I32 factor = load_i8_i32(header + i * kPanel + 16 * x.half);
            const I32 low = {_mm256_and_si256(factor.lo, _mm256_set1_epi32(0xffff)),
                             _mm256_and_si256(factor.hi, _mm256_set1_epi32(0xffff))};
            halves[i] = {_mm256_or_si256(low.lo, _mm256_slli_epi32(low.lo, 16)),
                         _mm256_or_si256(low.hi, _mm256_slli_epi32(low.hi, 16))};
          }
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) total[r] = set1_i32(0);
#pragma GCC unroll 4
        for (int64_t i = 0; i < kGroup; i += F::kWordK) {
#pragma GCC unroll 6
          for (int r = 0; r < R; ++r) acc[r] = set1_i32(0);
          multiply_wide<F, R>(a + i, b + i * 16, F::kWordK, acc);
#pragma GCC unroll 6
          for (int r = 0; r < R; ++r) total[r] = sum_words(total[r], acc[r], halves[i * 2 / kGroup]);
        }
      }
      const F32 scale = F::scale(x.factors, header, x.half);
      F32 min = zero();
      if constexpr (F::kLayout.has_min) min = F::min(x.factors, header, x.half);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const int32_t a_sum = load_word(a_sums + r * Wide<F>::kRowBytes);
        I32 chain = total[r];
        if constexpr (F::kHalves) {  // either half's sum of the row, as two words, by either half's factor
          const int32_t first = load_word(a_sums + Wide<F>::kSumBytes + r * Wide<F>::kRowBytes);
          const I32 words = set1_i32(
              static_cast<int32_t>((static_cast<uint32_t>(first) & 0xffff) | static_cast<uint32_t>(a_sum - first) << 16));
          const auto off = [&](__m256i sum, __m256i one, __m256i two) {
            const __m256i factors = _mm256_blend_epi16(one, two, 0xaa);
            return _mm256_sub_epi32(sum, _mm256_slli_epi32(_mm256_madd_epi16(factors, words.lo), F::kLayout.offset_bits));
          };
          chain = {off(chain.lo, halves[0].lo, halves[1].lo), off(chain.hi, halves[0].hi, halves[1].hi)};
        } else if constexpr (Wide<F>::kBytes) {
          chain = chain + F::start(a_sum);
        }
        const float of_row = row_scale(a_sums + r * Wide<F>::kRowBytes, Wide<F>::kSumBytes);
        F32 sum = fma(to_f32(chain), scale * set1(of_row), load(sums + r * 16));
        if constexpr (F::kLayout.has_min) sum = fma(set1(of_row * static_cast<float>(a_sum)), min, sum);
        store(sums + r * 16, sum);
      }
    }
  }
}

using MicroWide = void (*)(const WideArgs&);
template <class F, int R>
MicroWide pick_wide(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? micro_wide<F, R> : pick_wide<F, R - 1>(rows);
}

// Rows of the block for k in [ks, ke), block by block.
template <class F>
void pack_wide_rows(const GemmTile& t, int64_t ks, int64_t ke) {
  char* out = t.a_scratch;
  for (int64_t k0 = ks; k0 < ke; k0 += kWideK)
    for (int64_t m = 0; m < t.rows; ++m, out += Wide<F>::kRowBytes) {
      const char* chunk = memory_row<char>(t.a, t.m0 + m) + k0 / kInt8ChunkK * kInt8ChunkBytes;
      const char* codes = chunk + k0 % kInt8ChunkK;
      if constexpr (Wide<F>::kBytes) {
        __builtin_memcpy(out, codes, kWideK);
      } else {
        for (int64_t i = 0; i < kWideK; i += 32) {
          const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
          const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), odd = _mm256_srai_epi16(x, 8);
          const __m256i lo = _mm256_unpacklo_epi32(even, odd), hi = _mm256_unpackhi_epi32(even, odd);
          store_i32(out + 2 * i, {_mm256_permute2x128_si256(lo, hi, 0x20), _mm256_permute2x128_si256(lo, hi, 0x31)});
        }
      }
      const char* sums = chunk + kInt8ChunkK + k0 % kInt8ChunkK / 8;
      for (int64_t i = 0; i < 3; ++i)
        __builtin_memcpy(out + Wide<F>::kSums + i * Wide<F>::kSumBytes, sums + i * kInt8Sums, Wide<F>::kSumBytes);
    }
}

// The codes of `groups` groups of a panel: two halves of kHalfBytes.
template <class F>
void widen_groups(const char* group, int64_t groups, char* out) {
  for (int64_t g = 0; g < groups; ++g, group += int8_group_bytes(F::kFormat)) {
    const char* codes = group + F::kLayout.header;
    for (int64_t step = 0; step < F::kSteps; ++step) {
      prefetch(codes + step * kPanelRow + kStreamAhead);
      for (int quad = 0; quad < F::kQuads; ++quad, out += 4 / Wide<F>::kTurnK * 64)
        for (int half = 0; half < 2; ++half) {
          const Bytes bytes = F::codes(codes, step, quad, half);
          char* to = out + half * Wide<F>::kHalfBytes;
          if constexpr (Wide<F>::kBytes) {
            store_bytes(to, bytes);
          } else {
            const Columns c = columns(bytes);
            store_i32(to, {c.even[0], c.even[1]});
            store_i32(to + 64, {c.odd[0], c.odd[1]});
          }
        }
    }
  }
}

template <class F>
void tile_wide(const GemmTile& t) {
  constexpr int64_t kGroup = F::kLayout.group, kGroupBytes = int8_group_bytes(F::kFormat);
  const int64_t micros = (t.rows + Wide<F>::kRows - 1) / Wide<F>::kRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = round_up(t.k, kGroup), super_k = round_up(t.super_k, kInt8ChunkK);
  constexpr int kRows = Wide<F>::kRows;
  const MicroWide kernels[2] = {pick_wide<F, kRows>(small), pick_wide<F, kRows>(small + 1 <= kRows ? small + 1 : small)};
  for (int64_t ks = 0; ks < k_end; ks += super_k) {
    const int64_t ke = least(k_end, ks + super_k);
    pack_wide_rows<F>(t, ks, ke);
    for (int64_t panel = 0; panel < t.panels; ++panel) {
      const int64_t column = (t.panel0 + panel) * kPanel;
      const char* head = t.packed + (t.panel0 + panel) * t.panel_bytes;
      float* slots = t.partial + (super_k >= k_end ? 0 : panel * micros * kRows * kPanel);
      for (int64_t k0 = ks; k0 < ke; k0 += kWideK) {
        const int64_t k1 = least(ke, k0 + kWideK);
        const char* group = head + int8_head_bytes(F::kFormat, t.k) + k0 / kGroup * kGroupBytes;
        widen_groups<F>(group, (k1 - k0) / kGroup, t.b_scratch);
        int64_t m = 0;
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t rows = small + (i < large);
          for (int64_t half = 0; half < 2; ++half) {
            WideArgs x;
            x.a = t.a_scratch + ((k0 - ks) / kWideK * t.rows + m) * Wide<F>::kRowBytes;
            x.b = t.b_scratch + half * Wide<F>::kHalfBytes;
            x.factors = head + F::kLayout.head + k0 / 256 * F::kLayout.factors;
            x.header = group;
            x.half = half;
            x.k = k1 - k0;
            float* sums = slots + (2 * i + half) * kRows * 16;
            x.sums = sums;
            x.resume = k0 > 0;
            kernels[i < large](x);
            if (const int64_t columns = least(16, t.n - column - 16 * half); k1 == k_end && columns > 0) {
              scale_columns<F>(rows, 1, head + half * 64, 0, sums);
              finish_rows(t, t.m0 + m, rows, column + 16 * half, columns, sums, 16);
            }
          }
          m += rows;
        }
      }
    }
  }
}

// Few rows are bound by memory, or too few to pay for the layout: they read the codes as they stand.
template <class F>
constexpr int64_t kFewRows = F::kColumnScale             ? 16
                             : F::kLayout.code_bits == 8 ? 4
                             : F::kLayout.code_bits == 5 ? 1
                                                         : 2;

void gemm_int8_wide(const GemmTile& t) {
  with_int8_format(t.weight_format, [&](auto format) {
    using F = decltype(format);
    t.rows <= kFewRows<F> ? tile_int8<F>(t) : tile_wide<F>(t);
  });
}
int64_t wide_a_bytes(int64_t rows, int64_t super_k, bool along) {
  const int64_t wide = (super_k + kInt8ChunkK - 1) / kInt8ChunkK * (kInt8ChunkK / kWideK) * rows *
                       Wide<Int8Format<WeightFormat::kInt8Row>>::kRowBytes;
  const int64_t bytes = int8_a_bytes(rows, super_k, along);
  return wide > bytes ? wide : bytes;
}
constexpr GemmKernels kWideKernels = {nullptr, PanelFormat::kF32, kWideRows, wide_a_bytes, int8_partial_bytes,
                                      2,       gemm_int8_wide};

}  // namespace
}  // namespace fathom::FATHOM_RUNG
