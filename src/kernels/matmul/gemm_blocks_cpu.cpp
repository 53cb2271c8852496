// One block of C over a weight packed in blocks (block_format.h), for every rung and format. Rows enough to reuse it: a block
// of a panel (128 k x 32 columns) is widened into L1 once and the micro-kernels run over it; few rows: codes are widened in
// registers. The order is the same.
#include "kernels/matmul/gemm_blocks_cpu.h"

#include "kernels/matmul/decode_codes.h"
#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack_a.h"
#include "kernels/matmul/tile_square.h"

namespace fathom::FATHOM_RUNG {
namespace {

// Up to here codes are widened in registers.
constexpr int kDirectRows = FATHOM_RUNG_LEVEL >= 2 ? 4 : FATHOM_RUNG_LEVEL == 1 ? 2 : 0;

template <class T, class U>
constexpr bool kSame = false;
template <class T>
constexpr bool kSame<T, T> = true;

// A group's scales, without the unit of its floats.
template <class Op, class D>
FATHOM_INLINE F32 group_scale(const char* head, const char* header, int64_t group, int64_t half) {
  const F32 scale = D::scale(head, header, group, half);
  if constexpr (kSame<Op, DotPairs> || D::kFloatUnit == 1) return scale;
  return scale * set1(1 / D::kFloatUnit);
}

// Whether a chain of the format begins at a sum of A (BlockLayout::offset).
template <class Op>
constexpr bool from_sums(const BlockLayout& layout) {
  return !kSame<Op, DotPairs> && layout.offset != 0;
}
template <class Op, class D>
constexpr bool kFromSums = from_sums<Op>(block_layout(D::kFormat));

// ---- few rows

struct DirectArgs {
  const float* a;  // row r at a + r kRowWords; the next block of 128 k a_block words on
  int64_t a_block;
  const float* a_sums;  // sum_groups(): [group][a_sums_stride]
  int64_t a_sums_stride;
  const char *head, *block;  // of the first panel
  int64_t panel_bytes;       // to the next
  int64_t blocks, last_k;    // the last block has last_k k, a multiple of 32
  float* sums;               // [R][2 P][16]
  bool resume;
};

// R rows by P panels.
template <class Op, class D, int R, int P>
void direct(const DirectArgs& x) {
  constexpr BlockLayout kLayout = block_layout(D::kFormat);
  constexpr int64_t kSteps = kLayout.group / 16;
  F32 sums[R][2 * P];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 2 * P; ++v) sums[r][v] = x.resume ? load(x.sums + (r * 2 * P + v) * 16) : zero();
  const char* block = x.block;
  const float* a_block = x.a;
  const float* a_sums = x.a_sums;
  for (int64_t b = 0; b < x.blocks; ++b) {
    const int64_t k = b + 1 < x.blocks ? kBlockK : x.last_k;
    const int64_t groups = (k + kLayout.group - 1) / kLayout.group;
    for (int64_t group = 0; group < groups; ++group) {
      F32 acc[R][2 * P];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < 2 * P; ++v) acc[r][v] = kFromSums<Op, D> ? set1(a_sums[group * x.a_sums_stride + r]) : zero();
      const int64_t end = least((group + 1) * kSteps, k / 16);
      for (int64_t step = group * kSteps; step < end; ++step) {
        const float* a = a_block + step * (kSame<Op, DotPairs> ? 8 : 16);
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
          const char* codes = block + p * x.panel_bytes + kLayout.header;
#pragma GCC unroll 8
          for (int64_t i = 0; i < 2 * kLayout.code_bits; i += 2)  // 64 bytes each
            prefetch(codes + step * 4 * kLayout.code_bits * 16 + i * 32 + kStreamAhead);
          if constexpr (kSame<Op, DotPairs>) {
            D::pairs(codes, k, step, [&](int unit, int half, Pairs column) {
#pragma GCC unroll 4
              for (int r = 0; r < R; ++r) {
                uint32_t pair;
                __builtin_memcpy(&pair, a + r * Op::kRowWords + unit, sizeof pair);
                acc[r][2 * p + half] = dot2(set1_pairs(pair), column, acc[r][2 * p + half]);
              }
            });
          } else {
            D::floats(codes, k, step, [&](int unit, int half, F32 even, F32 odd) {
#pragma GCC unroll 4
              for (int r = 0; r < R; ++r) {
                const float* pair = a + r * Op::kRowWords + 2 * unit;
                acc[r][2 * p + half] = fma(set1(pair[1]), odd, fma(set1(pair[0]), even, acc[r][2 * p + half]));
              }
            });
          }
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < 2 * P; ++v) {
        const char* header = block + v / 2 * x.panel_bytes;
        const F32 scale = group_scale<Op, D>(x.head + v / 2 * x.panel_bytes, header, group, v % 2);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sums[r][v] = fma(acc[r][v], scale, sums[r][v]);
        if constexpr (kLayout.has_min) {
          const F32 min = D::min(header, group, v % 2);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) sums[r][v] = fma(set1(a_sums[group * x.a_sums_stride + r]), min, sums[r][v]);
        }
      }
    }
    block += kLayout.header + k * kPanel * kLayout.code_bits / 8;
    a_block += x.a_block;
    a_sums += groups * x.a_sums_stride;
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 2 * P; ++v) store(x.sums + (r * 2 * P + v) * 16, sums[r][v]);
}

// ---- a block of a panel, widened

// k (a multiple of 32) by 32 columns as floats [k][32] or pairs [k/2][32], and its scales and minima [group][32].
using WidenBlock = void (*)(const char* head, const char* block, int64_t k, char* codes, float* scales, float* mins);

template <class Op, class D>
void widen(const char* head, const char* block, int64_t k, char* out, float* scales, float* mins) {
  constexpr BlockLayout kLayout = block_layout(D::kFormat);
  constexpr bool kPairs = kSame<Op, DotPairs>;
  const char* codes = block + kLayout.header;
  for (int64_t step = 0; step < k / 16; ++step) {
    char* at = out + step * 8 * kPanelRow * (kPairs ? 1 : 2);
    if constexpr (kPairs)
      D::pairs(codes, k, step, [&](int unit, int half, Pairs x) { store_pairs(at + unit * kPanelRow + half * 64, x); });
    else
      D::floats(codes, k, step, [&](int unit, int half, F32 even, F32 odd) {
        store(reinterpret_cast<float*>(at + 2 * unit * kPanelRow + half * 64), even);
        store(reinterpret_cast<float*>(at + (2 * unit + 1) * kPanelRow + half * 64), odd);
      });
  }
  const int64_t groups = (k + kLayout.group - 1) / kLayout.group;
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t half = 0; half < 2; ++half) {
      store(scales + group * kPanel + 16 * half, group_scale<Op, D>(head, block, group, half));
      if constexpr (kLayout.has_min) store(mins + group * kPanel + 16 * half, D::min(block, group, half));
    }
}

// ---- many rows

struct GroupArgs {
  const float* a;
  const char* b;               // floats or pairs, 128 bytes a unit
  const float *scales, *mins;  // [group][32] from the micro-tile's first column; mins null where there are none
  const float* a_sums;         // [group][a_sums_stride]
  int64_t a_sums_stride;
  bool from_sums;                     // chains begin there, not at zero
  int64_t groups, units, last_units;  // units of k or pairs of k in a group
  float* sums;                        // [R][V][16]
  bool resume;
  const char* b_ahead;  // this micro-tile's part of the next packed block, to be fetched meanwhile: b_step bytes a unit
  int64_t b_step;
};

// The chain of each group from zero, scaled into the sums.
template <class Op, int R, int V>
void micro_groups(const GroupArgs& x) {
  const float* a = x.a;
  const char* b = x.b;
  float* const sums = x.sums;
  // The next micro-tile of A, about a line for each word of a row, comes from L2: fetched meanwhile.
  const char* a_ahead = reinterpret_cast<const char*>(a + R * Op::kRowWords);
  const char* b_ahead = x.b_ahead;
  const int64_t b_step = x.b_step;
  for (int64_t group = 0; group < x.groups; ++group) {
    F32 acc[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = zero();
    const float* a_sums = x.a_sums + group * x.a_sums_stride;
    if (!kSame<Op, DotPairs> && x.from_sums) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = set1(a_sums[r]);
    }
    const int64_t units = group + 1 < x.groups ? x.units : x.last_units;
    for (int64_t u = 0; u < units; ++u, ++a, b += kPanelRow) {
      __builtin_prefetch(a_ahead, 0, 3);
      __builtin_prefetch(b_ahead, 0, 3);
      a_ahead += R * Op::kRowWords * 4 / (kBlockK / Op::kUnitK);
      b_ahead += b_step;
      if constexpr (kSame<Op, DotPairs>) {
        Pairs column[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) column[v] = load_pairs(b + v * 64);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          uint32_t pair;
          __builtin_memcpy(&pair, a + r * Op::kRowWords, sizeof pair);
          const Pairs row = set1_pairs(pair);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) acc[r][v] = dot2(row, column[v], acc[r][v]);
        }
      } else {
        F32 column[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) column[v] = load_floats(b + v * 64);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const F32 row = set1(a[r * Op::kRowWords]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) acc[r][v] = fma(row, column[v], acc[r][v]);
        }
      }
    }
    const bool resume = x.resume || group > 0;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const F32 scale = load(x.scales + group * kPanel + v * 16);
      if (x.mins) {
        const F32 min = load(x.mins + group * kPanel + v * 16);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          float* sum = sums + (r * V + v) * 16;
          store(sum, fma(set1(a_sums[r]), min, fma(acc[r][v], scale, resume ? load(sum) : zero())));
        }
      } else {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          float* sum = sums + (r * V + v) * 16;
          store(sum, fma(acc[r][v], scale, resume ? load(sum) : zero()));
        }
      }
    }
  }
}

using MicroGroups = void (*)(const GroupArgs&);
template <class Op, int R>
MicroGroups pick_groups(int rows) {
  if constexpr (R == 0) {
    return nullptr;
  } else {
    return rows == R ? micro_groups<Op, R, kMinVectors> : pick_groups<Op, R - 1>(rows);
  }
}

// ---- the formats

using Direct = void (*)(const DirectArgs&);
struct FormatKernels {
  WidenBlock widen;
  Direct direct[kDirectRows + 1];  // by rows; two panels at once where it is one row
};
constexpr int direct_panels(int64_t rows) { return rows == 1 ? 2 : 1; }

// Whether the rung multiplies so outside tiles.
template <class Op>
constexpr bool kVectors = kSame<Op, DotPairs> ? FATHOM_GEMM_DOT : FATHOM_GEMM_FMA;

template <class Op, class D>
constexpr FormatKernels format_kernels() {
  FormatKernels k = {widen<Op, D>, {}};
  if constexpr (kVectors<Op> && kDirectRows >= 2)
    k.direct[1] = direct<Op, D, 1, direct_panels(1)>, k.direct[2] = direct<Op, D, 2, 1>;
  // Integer codes as floats are for f32 compute alone (gemm_words.h): 3 and 4 rows are not worth 18 kernels.
  if constexpr (kVectors<Op> && kDirectRows >= 4 && (kSame<Op, DotPairs> || !has_integer_codes(D::kFormat)))
    k.direct[3] = direct<Op, D, 3, 1>, k.direct[4] = direct<Op, D, 4, 1>;
  return k;
}
// Op: FmaF32 or DotPairs, what a block is widened for.
template <class Op>
constexpr FormatKernels kFormats[kWeightFormats] = {
    {},
    format_kernels<Op, DecodeFp8>(),
    format_kernels<Op, DecodeInt8Row>(),
    format_kernels<Op, DecodeQ8_0>(),
    format_kernels<Op, DecodeQ4_0>(),
    format_kernels<Op, DecodeQ4_1>(),
    format_kernels<Op, DecodeQ5_0>(),
    format_kernels<Op, DecodeQ4_K>(),
    format_kernels<Op, DecodeQ6_K>(),
    format_kernels<Op, DecodeInt4<WeightFormat::kInt4Group32>>(),
    format_kernels<Op, DecodeInt4<WeightFormat::kInt4Group128>>(),
};

const char* panel_of(const GemmTile& t, int64_t panel) { return t.packed + (t.panel0 + panel) * t.panel_bytes; }
const char* block_of(const GemmTile& t, const char* panel, int64_t k0) {
  return panel + block_layout(t.weight_format).head + k0 / kBlockK * block_bytes(t.weight_format, kBlockK);
}

// `factor` times the sums over each group of the block's rows of A: [group][t.rows]. Of each 32 k the sums of the even and the
// odd ones of pairs, or of the two halves of floats; these in order; then the lanes' tree.
template <bool kPairs>
void sum_groups(const GemmTile& t, const void* a, int64_t row_words, int64_t ks, int64_t ke, int64_t group, float factor,
                float* sums) {
  for (int64_t k0 = ks; k0 < ke; k0 += group, sums += t.rows) {
    const int64_t block = (k0 - ks) / kBlockK, at = k0 % kBlockK, k = least(group, ke - k0);
    for (int64_t m = 0; m < t.rows; ++m) {
      const float* row = static_cast<const float*>(a) + (block * t.rows + m) * row_words + (kPairs ? at / 2 : at);
      const auto two = [&](int64_t i) {
        if constexpr (kPairs) {
          const Pairs x = load_pairs(row + i / 2);
          return even(x) + odd(x);
        } else {
          return group == 16 ? load(row + i) : load(row + i) + load(row + i + 16);
        }
      };
      F32 lanes = two(0);
      for (int64_t i = 32; i < k; i += 32) lanes = lanes + two(i);
      sums[m] = factor * reduce_add(lanes);
    }
  }
}
// Divides the block's rows of A by the places of the codes that they meet.
template <int64_t kRowWords>
void place_rows(const GemmTile& t, int64_t ks, int64_t ke) {
  float factors[16];
  for (int k = 0; k < 16; ++k) factors[k] = 1 / static_cast<float>(1 << code_place(k));
  const F32 factor = load(factors);
  float* row = reinterpret_cast<float*>(t.a_scratch);
  for (int64_t k0 = ks; k0 < ke; k0 += kBlockK)
    for (int64_t m = 0; m < t.rows; ++m, row += kRowWords)
      for (int64_t k = 0; k < least(kBlockK, ke - k0); k += 16) store(row + k, load(row + k) * factor);
}

template <class Op, bool kRound>
void tile_blocks(const GemmTile& t) {
  constexpr bool kPairs = kSame<Op, DotPairs>;
  const BlockLayout layout = block_layout(t.weight_format);
  const FormatKernels& format = kFormats<Op>[static_cast<int>(t.weight_format)];
  const int64_t micros = (t.rows + kMaxRows - 1) / kMaxRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = padded_k(t.k);
  const Direct direct = t.rows <= kDirectRows ? format.direct[t.rows] : nullptr;
  char* codes = t.b_scratch;
  float* scales = reinterpret_cast<float*>(t.b_scratch + kBlockCodesBytes);
  float* mins = scales + 8 * kPanel;
  float* a_sums = reinterpret_cast<float*>(t.b_scratch + kBlockScratchBytes);
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_a<Op, kRound>(t, micros, ks, ke, t.k);
    if (layout.has_min || from_sums<Op>(layout))
      sum_groups<kPairs>(t, t.a_scratch, Op::kRowWords, ks, ke, layout.group,
                         layout.has_min ? 1.f : -static_cast<float>(layout.offset), a_sums);
    if (!kPairs && layout.code_bits < 8) place_rows<Op::kRowWords>(t, ks, ke);
    int64_t slot = 0;
    for (int64_t panel = 0; panel < t.panels;) {
      const int64_t first_slot = t.super_k >= k_end ? 0 : slot;
      const int64_t column = (t.panel0 + panel) * kPanel;
      const char* head = panel_of(t, panel);
      if (direct) {
        const int64_t wanted = direct_panels(t.rows);
        // A last panel on its own: its sums are computed twice, and once thrown away.
        const int64_t together = least(wanted, t.panels - panel);
        DirectArgs x;
        x.a = reinterpret_cast<const float*>(t.a_scratch);
        x.a_block = t.rows * Op::kRowWords;
        x.a_sums = a_sums;
        x.a_sums_stride = t.rows;
        x.head = head;
        x.block = block_of(t, head, ks);
        x.panel_bytes = together < wanted ? 0 : t.panel_bytes;
        x.blocks = (ke - ks + kBlockK - 1) / kBlockK;
        x.last_k = ke - ks - (x.blocks - 1) * kBlockK;
        x.sums = t.partial + first_slot * kMaxVectors * 16;
        x.resume = ks > 0;
        direct(x);
        const int64_t columns = least(together * kPanel, t.n - column);
        if (ke == k_end) finish_rows(t, t.m0, t.rows, column, columns, x.sums, wanted * kPanel);
        panel += together;
        slot += 1;
        continue;
      }
      for (int64_t k0 = ks; k0 < ke; k0 += kBlockK) {
        const int64_t k = least(ke, k0 + kBlockK) - k0;
        format.widen(head, block_of(t, head, k0), k, codes, scales, mins);
        for (int64_t part = 0; part < 2 / kMinVectors; ++part) {
          int64_t m = 0;
          for (int64_t i = 0; i < micros; ++i) {
            const int rows = static_cast<int>(small + (i < large));
            GroupArgs x;
            x.a = reinterpret_cast<const float*>(t.a_scratch) + ((k0 - ks) / kBlockK * t.rows + m) * Op::kRowWords;
            x.b = codes + part * 64;
            x.scales = scales + part * 16;
            x.mins = layout.has_min ? mins + part * 16 : nullptr;
            x.a_sums = a_sums + (k0 - ks) / layout.group * t.rows + m;
            x.a_sums_stride = t.rows;
            x.from_sums = from_sums<Op>(layout);
            x.groups = (k + layout.group - 1) / layout.group;
            x.units = layout.group / Op::kUnitK;
            x.last_units = k / Op::kUnitK - (x.groups - 1) * x.units;
            x.sums = t.partial + (first_slot + part * micros + i) * kMaxVectors * 16;
            x.resume = k0 > 0;
            const int64_t turn = part * micros + i, turns = micros * 2 / kMinVectors, units = kBlockK / Op::kUnitK;
            x.b_step = block_bytes(t.weight_format, kBlockK) / (turns * units) + 1;
            x.b_ahead = block_of(t, head, k0 + kBlockK) + turn * units * x.b_step;
            pick_groups<Op, kMaxRows>(rows)(x);
            if (k0 + kBlockK >= k_end) {
              const int64_t at = column + part * 16, columns = least(kMinVectors * 16, t.n - at);
              if (columns > 0) finish_rows(t, t.m0 + m, rows, at, columns, x.sums, kMinVectors * 16);
            }
            m += rows;
          }
        }
      }
      slot += micros * 2 / kMinVectors;
      ++panel;
    }
  }
}

}  // namespace

#if FATHOM_GEMM_FMA
void gemm_blocks_f32(const GemmTile& t) { tile_blocks<FmaF32, false>(t); }
void gemm_blocks_widen(const GemmTile& t) {
  has_integer_codes(t.weight_format) ? gemm_blocks_words(t) : tile_blocks<FmaF32, true>(t);
}
#endif
#if FATHOM_GEMM_DOT
void gemm_blocks_dot(const GemmTile& t) { tile_blocks<DotPairs, true>(t); }
#endif

#if FATHOM_GEMM_TILES
// 32 x 32 of C: the tiles of a group start from zero, are stored, and go scaled into the sums. A tile step takes 32 k: where a
// group has 16, the other half of B is zeros.
void gemm_blocks_tiles(const GemmTile& t) {
  Tiles tiles;
  const BlockLayout layout = block_layout(t.weight_format);
  const FormatKernels& format = kFormats<DotPairs>[static_cast<int>(t.weight_format)];
  const int64_t micros = (t.rows + kTileRows - 1) / kTileRows, k_end = padded_k(t.k);
  int64_t configured = 0;
  const bf16* a_scratch = reinterpret_cast<const bf16*>(t.a_scratch);
  char* codes = t.b_scratch;
  float* scales = reinterpret_cast<float*>(t.b_scratch + kBlockCodesBytes);
  float* mins = scales + 8 * kPanel;
  float* a_sums = reinterpret_cast<float*>(t.b_scratch + kBlockScratchBytes);
  alignas(64) float chain[kTileRows * kPanel];
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_tile_rows(t, ks, ke);
    if (layout.has_min) sum_groups<true>(t, a_scratch, kTileStride / 2, ks, ke, layout.group, 1.f, a_sums);
    for (int64_t p = 0; p < t.panels; ++p) {
      const int64_t column = (t.panel0 + p) * kPanel, columns = least(kPanel, t.n - column);
      const int64_t first_slot = t.super_k >= k_end ? 0 : p * micros;
      const char* head = panel_of(t, p);
      for (int64_t k0 = ks; k0 < ke; k0 += kBlockK) {
        const int64_t k = least(ke, k0 + kBlockK) - k0;
        const int64_t groups = (k + layout.group - 1) / layout.group;
        format.widen(head, block_of(t, head, k0), k, codes, scales, mins);
        if (layout.group == 16) {  // spread from behind: group g to 16 rows of pairs of its own
          constexpr int64_t kHalf = 8 * kPanelRow;
          for (int64_t g = groups - 1; g >= 0; --g) {
            char* step = codes + g * 2 * kHalf;
            __builtin_memmove(step + g % 2 * kHalf, codes + g * kHalf, kHalf);
            __builtin_memset(step + (1 - g % 2) * kHalf, 0, kHalf);
          }
        }
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t m = i * kTileRows, rows = least(kTileRows, t.rows - m);
          if (configured != rows) configure_square(tiles, configured = rows);
          const bf16* a = a_scratch + ((k0 - ks) / kBlockK * t.rows + m) * kTileStride;
          float* sums = t.partial + (first_slot + i) * kTileRows * kPanel;
          for (int64_t g = 0; g < groups; ++g) {
            zero_square(tiles, rows);
            const int64_t at = g * layout.group;
            if (layout.group == 16)
              multiply_square(tiles, a + at / 32 * 32, codes + g * 16 * kPanelRow, 1, rows);
            else
              multiply_square(tiles, a + at, codes + at / 2 * kPanelRow, (least(k, at + layout.group) - at) / 32, rows);
            store_square(tiles, rows, chain);
            const bool resume = k0 > 0 || g > 0;
            for (int j = 0; j < 2; ++j) {
              const F32 scale = load(scales + g * kPanel + j * 16);
              for (int64_t r = 0; r < rows; ++r) {
                float* sum = sums + r * kPanel + j * 16;
                F32 x = fma(load(chain + r * kPanel + j * 16), scale, resume ? load(sum) : zero());
                if (layout.has_min) {
                  const float a_sum = a_sums[((k0 - ks + at) / 32) * t.rows + m + r];
                  x = fma(set1(a_sum), load(mins + g * kPanel + j * 16), x);
                }
                store(sum, x);
              }
            }
          }
          if (k0 + kBlockK >= k_end) finish_rows(t, t.m0 + m, rows, column, columns, sums, kPanel);
        }
      }
    }
  }
  tiles.release();
}
#endif

}  // namespace fathom::FATHOM_RUNG
