// The one product of the attention kernels, C[rows][16 nvec] (+)= A[rows][depth] B[depth][16 nvec]: A is broadcast word by
// word with any strides (so it may lie transposed), B is read in vectors. Every element is one chain over depth in
// order, so the shape of the register tile decides no bit. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/dot_bf16.h"
#include "backend/cpu/simd.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {

// A word of the operands: one float (bf16 stores are widened when packed), or a pair of bf16 for VDPBF16PS.
struct FloatWord {
  using Word = float;
  static constexpr int kPer = 1;
  static FATHOM_INLINE F32 mad(Word a, F32 b, F32 c) { return fma(set1(a), b, c); }
  static FATHOM_INLINE F32 load_b(const float* p) { return load(p); }
  static FATHOM_INLINE F32 load_b(const bf16* p) { return load(p); }
};
// Below the avx512bf16 rung the instruction is emulated, bit for bit: that is how this form is tested without it.
struct PairWord {
  using Word = uint32_t;
  static constexpr int kPer = 2;
  static FATHOM_INLINE F32 mad(Word a, Pairs b, F32 c) { return dot2(set1_pairs(a), b, c); }
  static FATHOM_INLINE Pairs load_b(const uint32_t* p) { return load_pairs(p); }
};

enum class Start { kZero, kLoad, kScaled };  // C starts at 0, as it stands, or times scale[row]

template <class B>
struct Gemm {
  int64_t rows, nvec, depth;
  int64_t a_row, a_depth;  // strides of A in words
  const B* b;
  int64_t b_depth;  // words from one depth of B to the next
  float* c;
  int64_t c_row;
  const float* row_scale;  // Start::kScaled
  float out_scale;         // C is multiplied by this at the end (exact where 1)
};

// kUnit: a_row is 1, the rows of A are neighbours. With kAhead each step of the depth fetches a line at `ahead` into L2: many
// at once between the products would wait for each other.
template <class U, int R, int NV, Start start, bool kUnit, bool kAhead = false, class B>
__attribute__((noinline)) void panel(const Gemm<B>& g, const typename U::Word* a, const B* b, float* c, const float* row_scale,
                                     const char* ahead = nullptr) {
  F32 acc[R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      if constexpr (start == Start::kZero)
        acc[r][v] = zero();
      else
        acc[r][v] = load(c + r * g.c_row + 16 * v);
      if constexpr (start == Start::kScaled) acc[r][v] = acc[r][v] * set1(row_scale[r]);
    }
  // One pointer for four rows, which the compiler must take as unrelated: left alone it keeps one base and R offsets, in
  // vector registers for want of others, and moving them back costs as much as a multiply-add.
  const int64_t a_row = kUnit ? 1 : g.a_row, a_depth = g.a_depth, b_depth = g.b_depth;
  constexpr int kPointers = kUnit ? 1 : (R + 3) / 4;
  const typename U::Word* row[kPointers];
#pragma GCC unroll 16
  for (int i = 0; i < kPointers; ++i) {
    row[i] = a + 4 * i * a_row;
    __asm__("" : "+r"(row[i]));
  }
  for (int64_t k = g.depth; k > 0; --k) {
    decltype(U::load_b(b)) bv[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) bv[v] = U::load_b(b + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename U::Word x = kUnit ? row[0][r] : row[r / 4 % kPointers][r % 4 * a_row];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) acc[r][v] = U::mad(x, bv[v], acc[r][v]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kPointers; ++i) row[i] += a_depth;
    b += b_depth;
    if constexpr (kAhead) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 64;
    }
  }
  const F32 scale = set1(g.out_scale);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) store(c + r * g.c_row + 16 * v, acc[r][v] * scale);
}

// Register tiles: sums + one B vector each + a broadcast stay within 32 (AVX-512) or 16 registers of half the width (AVX2).
constexpr int kMaxVec = FATHOM_RUNG_LEVEL >= 2 ? 3 : 1;
constexpr int rows_for(int nv) { return FATHOM_RUNG_LEVEL >= 2 ? (nv == 1 ? 16 : 8) : FATHOM_RUNG_LEVEL == 1 ? 6 : 4; }

template <class U, int NV, Start start, bool kUnit, class B>
FATHOM_INLINE void columns(const Gemm<B>& g, const typename U::Word* a, int64_t v) {
  constexpr int R = rows_for(NV);
  const B* b = g.b + 16 * v;
  float* c = g.c + 16 * v;
  int64_t r = 0;
  for (; r + R <= g.rows; r += R) panel<U, R, NV, start, kUnit>(g, a + r * g.a_row, b, c + r * g.c_row, g.row_scale + r);
  if constexpr (R > 8)
    if (r + 8 <= g.rows) panel<U, 8, NV, start, kUnit>(g, a + r * g.a_row, b, c + r * g.c_row, g.row_scale + r), r += 8;
  if constexpr (R > 4)
    if (r + 4 <= g.rows) panel<U, 4, NV, start, kUnit>(g, a + r * g.a_row, b, c + r * g.c_row, g.row_scale + r), r += 4;
  if (r + 2 <= g.rows) panel<U, 2, NV, start, kUnit>(g, a + r * g.a_row, b, c + r * g.c_row, g.row_scale + r), r += 2;
  if (r < g.rows) panel<U, 1, NV, start, kUnit>(g, a + r * g.a_row, b, c + r * g.c_row, g.row_scale + r);
}

template <class U, Start start, bool kUnit, class B>
void gemm(const Gemm<B>& g, const typename U::Word* a) {
  for (int64_t v = 0; v < g.nvec;) {
    const int64_t left = g.nvec - v;
    if constexpr (kMaxVec == 3) {
      if (left == 3 || left > 4)
        columns<U, 3, start, kUnit>(g, a, v), v += 3;
      else if (left >= 2)
        columns<U, 2, start, kUnit>(g, a, v), v += 2;
      else
        columns<U, 1, start, kUnit>(g, a, v), v += 1;
    } else {
      columns<U, 1, start, kUnit>(g, a, v), v += 1;
    }
  }
}

// Few rows (at most 8): B is read from memory once. All rows are in one register tile; AVX2 has registers for 6, and takes 7
// and 8 in two tiles, column by column.
template <class U, int R, Start start, class B>
FATHOM_INLINE void few_rows(const Gemm<B>& g, const typename U::Word* a) {
  constexpr bool kWhole = FATHOM_RUNG_LEVEL >= 2 || R <= 6;
  constexpr int kWide = FATHOM_RUNG_LEVEL >= 2 ? (R <= 2 ? 8 : R <= 4 ? 4 : 3) : R == 1 ? 4 : R == 2 ? 2 : 1;
  int64_t v = 0;
  auto go = [&]<int NV>() {
    for (; v + NV <= g.nvec; v += NV) {
      const B* b = g.b + 16 * v;
      float* c = g.c + 16 * v;
      panel<U, kWhole ? R : 4, NV, start, false>(g, a, b, c, g.row_scale);
      if constexpr (!kWhole) panel<U, R - 4, NV, start, false>(g, a + 4 * g.a_row, b, c + 4 * g.c_row, g.row_scale + 4);
    }
  };
  go.template operator()<kWide>();
  if constexpr (kWide > 4) go.template operator()<4>();
  if constexpr (kWide > 2) go.template operator()<2>();
  if constexpr (kWide > 1) go.template operator()<1>();
}
template <class U, Start start, class B>
void gemm_few(const Gemm<B>& g, const typename U::Word* a) {
  switch (g.rows) {
    case 1:
      return few_rows<U, 1, start>(g, a);
    case 2:
      return few_rows<U, 2, start>(g, a);
    case 3:
      return few_rows<U, 3, start>(g, a);
    case 4:
      return few_rows<U, 4, start>(g, a);
    case 5:
      return few_rows<U, 5, start>(g, a);
    case 6:
      return few_rows<U, 6, start>(g, a);
    case 7:
      return few_rows<U, 7, start>(g, a);
    case 8:
      return few_rows<U, 8, start>(g, a);
  }
}

}  // namespace fathom::FATHOM_RUNG
