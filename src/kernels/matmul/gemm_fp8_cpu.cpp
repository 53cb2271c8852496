// One block of C over FP8 blocks, for every rung. Rows enough to reuse it: a block of a panel (128 k x 32 columns) is widened
// into L1 once and the micro-kernels run over it; few rows: bytes are widened in registers. The order is the same.
#include "kernels/matmul/gemm_fp8_cpu.h"

#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack_a.h"
#include "kernels/matmul/tile_square.h"
#include "kernels/matmul/widen_fp8.h"

namespace fathom::FATHOM_RUNG {
namespace {

constexpr int kDirectRows = kMaxRows >= 14 ? 6 : 2;  // up to here bytes are widened in registers
static_assert(kBlockK == kFp8Block);

struct Fp8Args {
  const float* a;
  const char* b;       // floats, pairs or bytes
  int64_t b_next;      // bytes to the next panel
  const char* scale;   // 32 floats
  int64_t scale_next;  // bytes to the next panel
  int64_t units;       // of k or pairs of k
  float* sums;         // [R][V][16]
  bool resume;
};

// FmaF32 and DotPairs read blocks that were widened before, this one the bytes: b is [k][32].
struct FmaBytes : FmaF32 {};
template <class T, class U>
constexpr bool kSame = false;
template <class T>
constexpr bool kSame<T, T> = true;

// The chain of one block from zero, scaled into the sums.
template <class Op, int R, int V>
void micro_fp8(const Fp8Args& x) {
  F32 acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = zero();
  const float* a = x.a;
  const char* b = x.b;
  const int64_t next = x.b_next;
  for (int64_t u = 0; u < x.units; ++u, ++a) {
    if constexpr (kSame<Op, DotPairs>) {
      Pairs column[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) column[v] = load_pairs(b + (v / 2) * next + (v % 2) * 64);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        uint32_t pair;
        __builtin_memcpy(&pair, a + r * Op::kRowWords, sizeof pair);
        const Pairs row = set1_pairs(pair);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = dot2(row, column[v], acc[r][v]);
      }
      b += kPanelRow;
    } else {
      F32 column[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        if constexpr (kSame<Op, FmaBytes>)
          column[v] = widen_e4m3(reinterpret_cast<const uint8_t*>(b + (v / 2) * next + (v % 2) * 16));
        else
          column[v] = load(reinterpret_cast<const float*>(b + (v / 2) * next + (v % 2) * 64));
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 row = set1(a[r * Op::kRowWords]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(row, column[v], acc[r][v]);
      }
      b += kSame<Op, FmaBytes> ? kPanel : kPanelRow;
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    const F32 scale = load(reinterpret_cast<const float*>(x.scale + (v / 2) * x.scale_next + (v % 2) * 64));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* sum = x.sums + (r * V + v) * 16;
      store(sum, fma(acc[r][v], scale, x.resume ? load(sum) : zero()));
    }
  }
}

using MicroFp8 = void (*)(const Fp8Args&);
template <class Op, int R>
MicroFp8 pick(int rows, int v) {
  if constexpr (R == 0) {
    return nullptr;
  } else {
    if (rows == R) {
      // Only bytes are read from several panels at once.
      if constexpr (kSame<Op, FmaBytes>) {
        if (v == vectors_for(R)) return micro_fp8<Op, R, vectors_for(R)>;
      }
      return micro_fp8<Op, R, kMinVectors>;
    }
    return pick<Op, R - 1>(rows, v);
  }
}

const char* block_of(const GemmTile& t, int64_t panel, int64_t k0) {
  return t.packed + (t.panel0 + panel) * t.panel_bytes + k0 / kFp8Block * kFp8BlockBytes;
}
void widen_block(const char* block, int64_t k, float* out) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(block + kFp8ScaleBytes);
  for (int64_t i = 0; i < k; ++i, bytes += kPanel, out += kPanel) {
    store(out, widen_e4m3(bytes));
    store(out + 16, widen_e4m3(bytes + 16));
  }
}
void widen_block_pairs(const char* block, int64_t k, uint32_t* out) {  // k even: within the padding
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(block + kFp8ScaleBytes);
  for (int64_t i = 0; i < k; i += 2, bytes += 2 * kPanel, out += kPanel) {
    store_pairs(out, make_pairs(widen_e4m3(bytes), widen_e4m3(bytes + kPanel)));
    store_pairs(out + 16, make_pairs(widen_e4m3(bytes + 16), widen_e4m3(bytes + kPanel + 16)));
  }
}

template <class Op, bool kRound>
void tile_fp8(const GemmTile& t) {
  constexpr bool kPairsOfK = kSame<Op, DotPairs>;
  const int64_t micros = (t.rows + kMaxRows - 1) / kMaxRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = round_up(t.k, Op::kUnitK);
  const bool direct = !kPairsOfK && micros == 1 && t.rows <= kDirectRows;
  const int direct_v = vectors_for(static_cast<int>(t.rows));
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_a<Op, kRound>(t, micros, ks, ke, t.k);
    int64_t slot = 0;
    for (int64_t panel = 0; panel < t.panels;) {
      const int64_t group = direct && direct_v > 2 && panel + direct_v / 2 <= t.panels ? direct_v / 2 : 1;
      const int v = group > 1 ? direct_v : kMinVectors;
      const int64_t parts = 2 * group / v;  // micro-tiles beside each other
      const int64_t first_slot = t.super_k >= k_end ? 0 : slot;
      for (int64_t k0 = ks; k0 < ke; k0 += kFp8Block) {
        const int64_t k = least(ke, k0 + kFp8Block) - k0;
        const char* block = block_of(t, panel, k0);
        const char* b = block + kFp8ScaleBytes;
        if (!direct) {
          if constexpr (kPairsOfK)
            widen_block_pairs(block, k, reinterpret_cast<uint32_t*>(t.b_scratch));
          else
            widen_block(block, k, reinterpret_cast<float*>(t.b_scratch));
          b = t.b_scratch;
        }
        for (int64_t part = 0; part < parts; ++part) {
          int64_t m = 0;
          for (int64_t i = 0; i < micros; ++i) {
            const int rows = static_cast<int>(small + (i < large));
            Fp8Args x;
            x.a = reinterpret_cast<const float*>(t.a_scratch) + ((k0 - ks) / kBlockK * t.rows + m) * Op::kRowWords;
            x.b = b + part * (direct ? 16 : 64);
            x.b_next = x.scale_next = t.panel_bytes;
            x.scale = block + part * 64;
            x.units = k / Op::kUnitK;
            x.sums = t.partial + (first_slot + part * micros + i) * kMaxVectors * 16;
            x.resume = k0 > 0;
            if constexpr (!kPairsOfK) {
              if (direct)
                pick<FmaBytes, kDirectRows>(rows, v)(x);
              else
                pick<Op, kMaxRows>(rows, v)(x);
            } else {
              pick<Op, kMaxRows>(rows, v)(x);
            }
            if (k0 + kFp8Block >= k_end) {
              const int64_t column = (t.panel0 + panel) * kPanel + part * 16, columns = least(v * 16, t.n - column);
              if (columns > 0) finish_rows(t, t.m0 + m, rows, column, columns, x.sums, v * 16);
            }
            m += rows;
          }
        }
      }
      slot += parts * micros;
      panel += group;
    }
  }
}

}  // namespace

void gemm_fp8_tile_f32(const GemmTile& t) { tile_fp8<FmaF32, false>(t); }
void gemm_fp8_tile_widen(const GemmTile& t) { tile_fp8<FmaF32, true>(t); }
void gemm_fp8_tile_dot(const GemmTile& t) { tile_fp8<DotPairs, true>(t); }

// 32 x 32 of C: the tiles of a block start from zero, are stored, and go scaled into the sums.
void gemm_fp8_tile_tiles(const GemmTile& t) {
  Tiles tiles;
  const int64_t micros = (t.rows + kTileRows - 1) / kTileRows, k_end = round_up(t.k, 32);
  int64_t configured = 0;
  const bf16* a_scratch = reinterpret_cast<const bf16*>(t.a_scratch);
  alignas(64) float chain[kTileRows * kPanel];
  for (int64_t ks = 0; ks < k_end; ks += t.super_k) {
    const int64_t ke = least(k_end, ks + t.super_k);
    pack_tile_rows(t, ks, ke);
    for (int64_t p = 0; p < t.panels; ++p) {
      const int64_t column = (t.panel0 + p) * kPanel, columns = least(kPanel, t.n - column);
      const int64_t first_slot = t.super_k >= k_end ? 0 : p * micros;
      for (int64_t k0 = ks; k0 < ke; k0 += kFp8Block) {
        const char* block = block_of(t, p, k0);
        const int64_t steps = (least(ke, k0 + kFp8Block) - k0) / 32;
        widen_block_pairs(block, steps * 32, reinterpret_cast<uint32_t*>(t.b_scratch));
        for (int64_t i = 0; i < micros; ++i) {
          const int64_t m = i * kTileRows, rows = least(kTileRows, t.rows - m);
          if (configured != rows) configure_square(tiles, configured = rows);
          zero_square(tiles, rows);
          const bf16* a = a_scratch + ((k0 - ks) / kBlockK * t.rows + m) * kTileStride;
          multiply_square(tiles, a, t.b_scratch, steps, rows);
          store_square(tiles, rows, chain);
          float* sums = t.partial + (first_slot + i) * kTileRows * kPanel;
          const F32 scale[2] = {load(reinterpret_cast<const float*>(block)), load(reinterpret_cast<const float*>(block) + 16)};
          for (int64_t r = 0; r < rows; ++r)
            for (int j = 0; j < 2; ++j) {
              float* sum = sums + r * kPanel + j * 16;
              store(sum, fma(load(chain + r * kPanel + j * 16), scale[j], k0 > 0 ? load(sum) : zero()));
            }
          if (k0 + kFp8Block >= k_end) finish_rows(t, t.m0 + m, rows, column, columns, sums, kPanel);
        }
      }
    }
  }
  tiles.release();
}

}  // namespace fathom::FATHOM_RUNG
