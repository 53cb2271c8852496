// The micro-kernel: R rows by V vectors of 16 columns of C in registers, over a block of k. For *_cpu.cpp files.
//
// R x V per rung: 14 x 2 fills 28 of 32 zmm registers (2 for B, the rest for A's broadcasts); 6 x 1 (two ymm a vector)
// fills 12 of 16 ymm. Few rows take more columns instead, so that enough chains are in flight to cover FMA latency and
// several panels stream from memory at once.
#pragma once
#include "backend/cpu/dot_bf16.h"
#include "backend/cpu/simd.h"
#include "kernels/matmul/pack.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 2
constexpr int kMaxRows = 14, kMaxVectors = 28;
constexpr int vectors_for(int rows) { return rows <= 3 ? 8 : rows <= 6 ? 4 : 2; }
#elif FATHOM_RUNG_LEVEL == 1
constexpr int kMaxRows = 6, kMaxVectors = 6;
constexpr int vectors_for(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }
#else
constexpr int kMaxRows = 4, kMaxVectors = 4;
constexpr int vectors_for(int) { return 1; }
#endif
constexpr int kMinVectors = FATHOM_RUNG_LEVEL >= 2 ? 2 : 1;
static_assert(kMaxRows <= kMicroLanes);
// Where a packed weight is read from end to end: bytes that are fetched before they are needed.
constexpr int64_t kStreamAhead = 2048;

enum class Finish : int { kPartial, kStoreF32, kAddF32, kStoreBf16 };

struct MicroArgs {
  const float* a;
  const char* b;
  int64_t b_panel_bytes;  // to the next panel
  int64_t units;          // of k (f32) or pairs of k
  float* partial;         // [R][V][16]
  bool resume;            // start from `partial`
  const char* b_ahead;    // this micro-tile's part of the next block of B, to be fetched into L2: b_step bytes a unit
  int64_t b_step;
  Finish finish;
  void* c;
  int64_t ldc;
};

// An operand word of A is 4 bytes: a float or a pair of bf16. B has 128 bytes for each.
struct FmaF32 {
  static constexpr int kUnitK = 1;
  static constexpr int64_t kRowWords = kBlockK + 16;
};
struct DotPairs {
  static constexpr int kUnitK = 2;
  static constexpr int64_t kRowWords = kBlockK / 2 + 16;
};

// kAlong: A is [row][kRowWords], else [k][kMicroLanes].
template <class Op, int R, int V, bool kAlong>
void micro(const MicroArgs& x) {
  F32 acc[R][V];
  if (x.resume) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = load(x.partial + (r * V + v) * 16);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = zero();
  }
  const float* a = x.a;
  const char* b = x.b;
  const int64_t next = x.b_panel_bytes;
  // A micro-tile of A comes from L2, about kMicroLanes words for each word of a row: the next one, which lies behind, is
  // fetched meanwhile.
  const char* a_ahead = reinterpret_cast<const char*>(kAlong ? a + R * Op::kRowWords : a + kBlockK * kMicroLanes);
  const char* b_ahead = x.b_ahead;
  for (int64_t u = 0; u < x.units; ++u) {
    if constexpr (R > kMaxRows / 2) {
      __builtin_prefetch(a_ahead, 0, 3);
      __builtin_prefetch(b_ahead, 0, 2);
      a_ahead += kMicroLanes * 4;
      b_ahead += x.b_step;
    }
    const auto word = [&](int r) { return kAlong ? a[r * Op::kRowWords] : a[r]; };
    if constexpr (sizeof(Op) && Op::kUnitK == 1) {
      F32 column[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) column[v] = load(reinterpret_cast<const float*>(b + (v / 2) * next + (v % 2) * 64));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 row = set1(word(r));
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(row, column[v], acc[r][v]);
      }
    } else {
      Pairs column[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) column[v] = load_pairs(b + (v / 2) * next + (v % 2) * 64);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        uint32_t pair;
        const float* p = kAlong ? a + r * Op::kRowWords : a + r;
        __builtin_memcpy(&pair, p, sizeof pair);
        const Pairs row = set1_pairs(pair);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = dot2(row, column[v], acc[r][v]);
      }
    }
    a += kAlong ? 1 : kMicroLanes;
    b += kPanelRow;
  }
  switch (x.finish) {
    case Finish::kPartial:
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(x.partial + (r * V + v) * 16, acc[r][v]);
      break;
    case Finish::kStoreF32:
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(static_cast<float*>(x.c) + r * x.ldc + v * 16, acc[r][v]);
      break;
    case Finish::kAddF32:
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          float* c = static_cast<float*>(x.c) + r * x.ldc + v * 16;
          store(c, load(c) + acc[r][v]);
        }
      break;
    case Finish::kStoreBf16:
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(static_cast<bf16*>(x.c) + r * x.ldc + v * 16, acc[r][v]);
      break;
  }
}

using Micro = void (*)(const MicroArgs&);
// The kernel for `rows` <= R rows; v is vectors_for(rows), or kMinVectors where fewer columns are left.
template <class Op, bool kAlong, int R>
Micro pick_micro(int rows, int v) {
  if constexpr (R == 0) {
    return nullptr;
  } else {
    if (rows == R) return v == vectors_for(R) ? micro<Op, R, vectors_for(R), kAlong> : micro<Op, R, kMinVectors, kAlong>;
    return pick_micro<Op, kAlong, R - 1>(rows, v);
  }
}

// Sums of R rows by `columns` columns to C: + bias, + old value, rounded once. For borders and whatever is not plain.
inline __attribute__((always_inline)) void finish_rows(const GemmTile& t, int64_t m, int64_t rows, int64_t column,
                                                       int64_t columns, const float* sums, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; j += 16) {
      const int n = static_cast<int>(columns - j < 16 ? columns - j : 16);
      F32 x = load(sums + r * stride + j);
      if (t.bias) {
        x = x + (t.bias_bf16 ? load_n(static_cast<const bf16*>(t.bias) + column + j, n)
                             : load_n(static_cast<const float*>(t.bias) + column + j, n));
      }
      const int64_t at = (m + r) * t.ldc + column + j;
      if (t.c_bf16) {
        bf16* c = static_cast<bf16*>(t.c) + at;
        store_n(c, t.accumulate ? load_n(c, n) + x : x, n);
      } else {
        float* c = static_cast<float*>(t.c) + at;
        store_n(c, t.accumulate ? load_n(c, n) + x : x, n);
      }
    }
}

}  // namespace fathom::FATHOM_RUNG
