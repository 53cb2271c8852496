// One block of C where bf16 is not multiplied as such: rows of A as 16-bit integers with a power of two for every 32 k
// (gemm.h), B as integers likewise or in blocks of integer codes (block_format.h), so that one instruction multiplies and adds
// two k, where an FMA takes one and bf16 or a code a conversion before. Rows enough to reuse it: a block of a panel is widened
// to words in L1 once and the micro-kernels run over it; few rows: codes are widened in registers. The sums are integers and
// the order of the groups is the same. Included by *_cpu.cpp files, once with VNNI and once without where a rung has both.
#pragma once
#include "backend/cpu/dot_words.h"
#include "kernels/matmul/decode_codes.h"
#include "kernels/matmul/gemm_blocks_cpu.h"
#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack.h"

namespace fathom::FATHOM_RUNG {
namespace {

// Up to here codes are widened in registers; never on portable, which has none to spare.
constexpr int kWordsDirectRows = FATHOM_RUNG_LEVEL >= 2 ? 4 : FATHOM_RUNG_LEVEL == 1 ? 2 : 0;
constexpr int64_t kWordsGroup = 32;  // k of a row that share a power of two

// A row of a block of 128 k; `group`: 32 k, or 16 where the format's scales are those of 16.
struct alignas(64) WordRow {
  int16_t words[kBlockK];
  int32_t starts[8];  // of a group: -offset x the sum of its words
  float scales[4];
  float sums[4];  // of a group: the sum of its words, scaled
};
static_assert(sizeof(WordRow) == 320);  // an odd count of lines

// 32 k of a row from x and y. kCodes: for a weight of integer codes.
template <bool kCodes>
FATHOM_INLINE void pack_words(F32 x, F32 y, int64_t group, int32_t offset, WordRow& row, int64_t at) {
  constexpr uint32_t kBits = kCodes ? kWordBitsByCodes : kWordBits;
  const uint32_t bits = largest_bits(larger_magnitude(x, y));
  const bool bad = bits >= kInfinityBits;
  const WordPower power = word_power<kBits>(bits);
  float scale, inverse;
  __builtin_memcpy(&scale, &power.power, sizeof scale);
  __builtin_memcpy(&inverse, &power.inverse, sizeof inverse);
  F32 low = bad ? zero() : x * set1(inverse), high = bad ? zero() : y * set1(inverse);
  store_words(row.words + at, low, high);
  row.scales[at / 32] = scale;
  if constexpr (!kCodes) {
    row.starts[at / 32] = 0;
    return;
  }
  low = round(low), high = round(high);
  const float low_sum = reduce_add(low), high_sum = reduce_add(high);  // integers below 2^20: exact in any order
  row.sums[at / 32] = scale * (low_sum + high_sum);
  if (group == 16) {
    row.starts[at / 16] = -offset * static_cast<int32_t>(low_sum);
    row.starts[at / 16 + 1] = -offset * static_cast<int32_t>(high_sum);
  } else {
    row.starts[at / 32] = -offset * static_cast<int32_t>(low_sum + high_sum);
  }
}
template <bool kCodes, class T>
void pack_word_rows(const GemmTile& t, int64_t ks, int64_t ke) {
  const BlockLayout layout = kCodes ? block_layout(t.weight_format) : kWordsLayout;
  WordRow* const rows = reinterpret_cast<WordRow*>(t.a_scratch);
  for (int64_t m = 0; m < t.rows; ++m) {
    const T* from = memory_row<T>(t.a, t.m0 + m);
    for (int64_t k = ks; k < ke; k += 32) {
      const auto half = [&](int64_t i) { return i < t.k ? take<true>(from + i, t.k - i) : zero(); };
      WordRow& row = rows[(k - ks) / kBlockK * t.rows + m];
      pack_words<kCodes>(half(k), half(k + 16), layout.group, static_cast<int32_t>(layout.offset), row, (k - ks) % kBlockK);
    }
  }
}
// The same where lanes run inside the memory rows, 16 at a time.
template <class T>
void pack_word_lanes(const GemmTile& t, int64_t ks, int64_t ke) {
  WordRow* rows = reinterpret_cast<WordRow*>(t.a_scratch);
  for (int64_t k0 = ks; k0 < ke; k0 += kBlockK, rows += t.rows)
    for (int64_t k = k0; k < least(ke, k0 + kBlockK); k += 32)
      for (int64_t m = 0; m < t.rows; m += 16) {
        WordSquare square;
        take_square<T>(t.a, t.m0 + m, t.rows - m, k, t.k - k, square);
        Pairs words[16];
        square_words(square, words);
        F32 r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) r[i] = as_f32(words[i]);
        transpose16(r);
        for (int64_t i = 0; i < least(16, t.rows - m); ++i) {
          WordRow& row = rows[m + i];
          store(reinterpret_cast<float*>(row.words + (k - k0)), r[i]);
          __builtin_memcpy(&row.scales[(k - k0) / 32], &square.powers[i], sizeof(float));
          row.starts[(k - k0) / 32] = 0;
        }
      }
}
template <bool kCodes>
void pack_a_words(const GemmTile& t, int64_t ks, int64_t ke) {
  if constexpr (!kCodes)
    if (!t.a.k_contiguous) return t.a.bf16 ? pack_word_lanes<bf16>(t, ks, ke) : pack_word_lanes<float>(t, ks, ke);
  t.a.bf16 ? pack_word_rows<kCodes, bf16>(t, ks, ke) : pack_word_rows<kCodes, float>(t, ks, ke);
}

// ---- a format's groups: as many k as share both powers of two and scales

// A weight without codes: integers as they are multiplied, kWordsLayout.
struct PlainWords {
  static constexpr WeightFormat kFormat = WeightFormat::kPlain;
  static constexpr bool kApart = false;
  template <class F>
  FATHOM_INLINE static void words(const char* codes, int64_t, int64_t step, F f) {
#pragma GCC unroll 8
    for (int unit = 0; unit < 8; ++unit)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) f(unit, half, load_pairs(codes + (step * 8 + unit) * kPanelRow + half * 64));
  }
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t group, int64_t half) {
    return load_powers(header + group * kPanel + 16 * half);
  }
};

template <class D>
struct Words {
  static constexpr bool kCodes = D::kFormat != WeightFormat::kPlain;
  static constexpr BlockLayout kLayout = kCodes ? block_layout(D::kFormat) : kWordsLayout;
  static constexpr int64_t kBlockBytes = kLayout.header + kBlockK * kPanel * kLayout.code_bits / 8;
  static constexpr int64_t kGroup = kLayout.group < kWordsGroup ? kLayout.group : kWordsGroup;
  static constexpr int64_t kSteps = kGroup / 16;
  FATHOM_INLINE static F32 scale(const char* head, const char* header, int64_t group, int64_t half) {
    return D::scale(head, header, group * kGroup / kLayout.group, half);
  }
};

// ---- few rows

struct WordsDirectArgs {
  const WordRow* a;  // the next block a_block rows on
  int64_t a_block;
  const char *head, *block;  // of the panel
  int64_t panel_bytes;       // to the next panel
  int64_t blocks, last_k;    // the last block has last_k k, a multiple of 32
  float* sums;               // [R][P][2][16]
  bool resume;
};

// R rows, P panels beside each other: what nothing is widened of waits for memory alone, which gives more to two streams.
template <class D, int R, int P>
void words_direct(const WordsDirectArgs& x) {
  using W = Words<D>;
  constexpr bool kApart = D::kApart && R == 1;  // of more rows the sums do not fit the registers
  constexpr int V = 2 * P, S = kApart ? 4 : 2;
  static_assert(!kApart || (P == 1 && kWordBitsByCodes <= 15));
  F32 sums[R][V];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v] = x.resume ? load(x.sums + (r * V + v) * 16) : zero();
  const char* block = x.block;
  const WordRow* rows = x.a;
  for (int64_t b = 0; b < x.blocks; ++b, rows += x.a_block) {
    const int64_t k = b + 1 < x.blocks ? kBlockK : x.last_k;
    const char* codes = block + W::kLayout.header;
    for (int64_t group = 0; group < k / W::kGroup; ++group) {
      I32 acc[R][P][S];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
          for (int i = 0; i < S; ++i) acc[r][p][i] = set1_i32(kApart && i % 3 ? 0 : rows[r].starts[group]);
#pragma GCC unroll 2
      for (int64_t step = group * W::kSteps; step < (group + 1) * W::kSteps; ++step) {
        if constexpr (W::kCodes) {
#pragma GCC unroll 8
          for (int64_t i = 0; i < W::kLayout.code_bits; ++i)  // 64 bytes each
            prefetch(codes + step * 64 * W::kLayout.code_bits + i * 64 + kStreamAhead);
        }
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
          const auto multiply = [&](int unit, int i, Pairs column) {
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) {
              uint32_t pair;
              __builtin_memcpy(&pair, rows[r].words + step * 16 + 2 * unit, sizeof pair);
              acc[r][p][i] = dot_words(acc[r][p][i], column, set1_pairs(pair));
            }
          };
          if constexpr (kApart)
            D::words_apart(codes + p * x.panel_bytes, step, multiply);
          else
            D::words(codes + p * x.panel_bytes, k, step, multiply);
        }
      }
      if constexpr (kApart) D::join(acc[0][0]);
      const int64_t of_row = group * W::kGroup / kWordsGroup;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const int64_t next = v / 2 * x.panel_bytes;
        const F32 scale = W::scale(x.head + next, block + next, group, v % 2);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          sums[r][v] = fma(to_f32(acc[r][v / 2][v % 2]), scale * set1(rows[r].scales[of_row]), sums[r][v]);
        if constexpr (W::kLayout.has_min) {
          const F32 min = D::min(block + next, group, v % 2);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) sums[r][v] = fma(set1(rows[r].sums[of_row]), min, sums[r][v]);
        }
      }
    }
    block += W::kLayout.header + k * kPanel * W::kLayout.code_bits / 8;
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(x.sums + (r * V + v) * 16, sums[r][v]);
}

// ---- a block of a panel, widened: words [k / 2][32][2] (returned: `out`, or where they stand), scales and minima [group][32]

template <class D>
const char* words_widen(const char* head, const char* block, int64_t k, char* out, float* scales, float* mins) {
  using W = Words<D>;
  if constexpr (W::kCodes)
    for (int64_t step = 0; step < k / 16; ++step)
      D::words(block + W::kLayout.header, k, step,
               [&](int unit, int half, Pairs x) { store_pairs(out + (step * 8 + unit) * kPanelRow + half * 64, x); });
  for (int64_t group = 0; group < k / W::kGroup; ++group)
    for (int64_t half = 0; half < 2; ++half) {
      store(scales + group * kPanel + 16 * half, W::scale(head, block, group, half));
      if constexpr (W::kLayout.has_min) store(mins + group * kPanel + 16 * half, D::min(block, group, half));
    }
  return W::kCodes ? out : block + W::kLayout.header;
}

// ---- many rows

struct WordsArgs {
  const WordRow* a;
  const char* b;               // words, 128 bytes a pair of k
  const float *scales, *mins;  // [group][32] from the micro-tile's first column
  int64_t groups;
  float* sums;  // [R][V][16]
  bool resume;
  const char* b_ahead;  // this micro-tile's part of the next packed block, to be fetched meanwhile: b_step bytes a pair of k
  int64_t b_step;
};

template <int R, int V, int64_t kGroup, bool kMin>
void micro_words(const WordsArgs& x) {
  const char *b = x.b, *b_ahead = x.b_ahead, *a = reinterpret_cast<const char*>(x.a);
  const char* a_ahead = a + R * sizeof(WordRow);  // the next micro-tile of A comes from L2
  const int64_t b_step = x.b_step, groups = x.groups;
  float* const sums = x.sums;
  const WordRow* const rows = x.a;
  bool resume = x.resume;
  for (int64_t group = 0; group < groups; ++group) {
    I32 acc[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[r][v] = set1_i32(rows[r].starts[group]);
    for (int64_t u = 0; u < kGroup / 2; ++u, b += kPanelRow, a += 4) {
      __builtin_prefetch(a_ahead, 0, 3);
      __builtin_prefetch(b_ahead, 0, 3);
      a_ahead += R * sizeof(WordRow) / (kBlockK / 2);
      b_ahead += b_step;
      Pairs column[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) column[v] = load_pairs(b + v * 64);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        uint32_t pair;
        __builtin_memcpy(&pair, a + r * sizeof(WordRow), sizeof pair);
        const Pairs row = set1_pairs(pair);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) acc[r][v] = dot_words(acc[r][v], column[v], row);
      }
    }
    const int64_t of_row = group * kGroup / kWordsGroup;
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const F32 scale = load(x.scales + group * kPanel + v * 16);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* at = sums + (r * V + v) * 16;
        store(at, fma(to_f32(acc[r][v]), scale * set1(rows[r].scales[of_row]), resume ? load(at) : zero()));
      }
    }
    if constexpr (kMin)
      for (int v = 0; v < V; ++v) {
        const F32 min = load(x.mins + group * kPanel + v * 16);
        for (int r = 0; r < R; ++r) {
          float* at = sums + (r * V + v) * 16;
          store(at, fma(set1(rows[r].sums[of_row]), min, load(at)));
        }
      }
    resume = true;
  }
}
using MicroWords = void (*)(const WordsArgs&);
template <int64_t kGroup, bool kMin, int R>
MicroWords pick_words(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? micro_words<R, kMinVectors, kGroup, kMin> : pick_words<kGroup, kMin, R - 1>(rows);
}

using WordsDirect = void (*)(const WordsDirectArgs&);
template <class D, int R>
WordsDirect pick_words_direct(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? words_direct<D, R, 1> : pick_words_direct<D, R - 1>(rows);
}

template <class D>
void tile_words(const GemmTile& t) {
  using W = Words<D>;
  const int64_t micros = (t.rows + kMaxRows - 1) / kMaxRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = padded_k(t.k), full_block = W::kBlockBytes;
  const auto direct = pick_words_direct<D, kWordsDirectRows>(t.rows);
  constexpr auto pick = pick_words<W::kGroup, W::kLayout.has_min, kMaxRows>;
  const MicroWords kernels[2] = {pick(small), pick(least(small + 1, kMaxRows))};
  char* const widened = t.b_scratch;
  alignas(64) float scales[8 * kPanel], mins[W::kLayout.has_min ? 8 * kPanel : 16];
  const WordRow* rows_of_a = reinterpret_cast<const WordRow*>(t.a_scratch);
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_a_words<W::kCodes>(t, ks, ke);
    for (int64_t panel = 0, together; panel < t.panels; panel += together) {
      together = !W::kCodes && direct && t.rows == 1 && t.packed && panel + 1 < t.panels ? 2 : 1;
      const int64_t slots = direct ? 1 : micros * 2 / kMinVectors;
      float* const first = t.partial + (t.super_k >= k_end ? 0 : panel * slots) * kMaxVectors * 16;
      const int64_t column = (t.panel0 + panel) * kPanel;
      const char* head = t.packed + (t.panel0 + panel) * t.panel_bytes;
      int64_t head_k = 0;
      if constexpr (!W::kCodes)
        if (!t.packed) {
          gemm_pack_panel(t.b, t.panel0 + panel, t.n, ks, least(t.k, ke) - ks, PanelFormat::kWords, t.b_scratch);
          head = t.b_scratch;
          head_k = ks;
        }
      const auto block_at = [&](int64_t k) { return head + W::kLayout.head + (k - head_k) / kBlockK * full_block; };
      if (kWordsDirectRows > 0 && direct) {
        WordsDirectArgs x;
        x.a = rows_of_a;
        x.a_block = t.rows;
        x.head = head;
        x.block = block_at(ks);
        x.panel_bytes = t.panel_bytes;
        x.blocks = (ke - ks + kBlockK - 1) / kBlockK;
        x.last_k = ke - ks - (x.blocks - 1) * kBlockK;
        x.sums = first;
        x.resume = ks > 0;
        if constexpr (W::kCodes)
          direct(x);
        else
          together == 2 ? words_direct<D, 1, 2>(x) : direct(x);
        const int64_t width = together * kPanel;
        if (ke == k_end) finish_rows(t, t.m0, t.rows, column, least(width, t.n - column), first, width);
        continue;
      }
      for (int64_t k0 = ks; k0 < ke; k0 += kBlockK) {
        const int64_t k = least(ke, k0 + kBlockK) - k0;
        const char* codes = words_widen<D>(head, block_at(k0), k, widened, scales, mins);
        for (int64_t part = 0; part < 2 / kMinVectors; ++part) {
          int64_t m = 0;
          for (int64_t i = 0; i < micros; ++i) {
            const int64_t rows = small + (i < large), turn = part * micros + i, turns = micros * 2 / kMinVectors;
            WordsArgs x;
            x.a = rows_of_a + (k0 - ks) / kBlockK * t.rows + m;
            x.b = codes + part * 64;
            x.scales = scales + part * 16;
            x.mins = mins + part * 16;
            x.groups = k / W::kGroup;
            x.sums = first + turn * kMaxVectors * 16;
            x.resume = k0 > 0;
            x.b_step = full_block / (turns * kBlockK / 2) + 1;
            x.b_ahead = block_at(k0 + kBlockK) + turn * kBlockK / 2 * x.b_step;
            kernels[i < large](x);
            if (k0 + kBlockK >= k_end) {
              const int64_t at = column + part * 16, columns = least(kMinVectors * 16, t.n - at);
              if (columns > 0) finish_rows(t, t.m0 + m, rows, at, columns, x.sums, kMinVectors * 16);
            }
            m += rows;
          }
        }
      }
    }
  }
}

void gemm_words(const GemmTile& t) {
  switch (t.weight_format) {
    case WeightFormat::kPlain:
      return tile_words<PlainWords>(t);
    case WeightFormat::kInt8Row:
      return tile_words<DecodeInt8Row>(t);
    case WeightFormat::kQ8_0:
      return tile_words<DecodeQ8_0>(t);
    case WeightFormat::kQ4_0:
      return tile_words<DecodeQ4_0>(t);
    case WeightFormat::kQ4_1:
      return tile_words<DecodeQ4_1>(t);
    case WeightFormat::kQ5_0:
      return tile_words<DecodeQ5_0>(t);
    case WeightFormat::kQ4_K:
      return tile_words<DecodeQ4_K>(t);
    case WeightFormat::kQ6_K:
      return tile_words<DecodeQ6_K>(t);
    case WeightFormat::kInt4Group32:
      return tile_words<DecodeInt4<WeightFormat::kInt4Group32>>(t);
    case WeightFormat::kInt4Group128:
      return tile_words<DecodeInt4<WeightFormat::kInt4Group128>>(t);
    default:
      __builtin_unreachable();  // gemm_blocks_widen() takes the others
  }
}

}  // namespace
}  // namespace fathom::FATHOM_RUNG
