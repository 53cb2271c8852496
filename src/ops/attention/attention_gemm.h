// The one product of the attention kernels, C[rows][16 nvec] (+)= A[rows][depth] B[depth][16 nvec]: A is broadcast word by
// word with any strides (so it may lie transposed), B is read in vectors. Every element is one chain over depth in
// order, so the shape of the register tile decides no bit. For *_cpu.cpp files.
#pragma once
#include <type_traits>

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
  static FATHOM_INLINE F32 load_c(const float* p) { return load(p); }
  static FATHOM_INLINE void store_c(float* p, F32 a) { store(p, a); }
};
#if FATHOM_RUNG_LEVEL == 1
// 16 bf16 as floats: the even ones in one half, the odd ones in the other.
FATHOM_INLINE F32 split_pairs(__m256i pairs) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
}
// bf16 values, widened by one instruction for 8: the even columns in one half of a vector, the odd ones in the other.
struct SplitWord : FloatWord {
  static FATHOM_INLINE F32 load_b(const bf16* p) {
    return split_pairs(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static FATHOM_INLINE F32 load_c(const float* p) {
    const F32 c = load(p);
    const __m256 even = _mm256_shuffle_ps(c.lo, c.hi, 0x88), odd = _mm256_shuffle_ps(c.lo, c.hi, 0xdd);
    return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8)),
            _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8))};
  }
  static FATHOM_INLINE void store_c(float* p, F32 a) {
    const __m256 low = _mm256_unpacklo_ps(a.lo, a.hi), high = _mm256_unpackhi_ps(a.lo, a.hi);
    store(p, F32{_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)});
  }
};
#endif
// Below the avx512bf16 rung the instruction is emulated, bit for bit: that is how this form is tested without it.
struct PairWord {
  using Word = uint32_t;
  static constexpr int kPer = 2;
  static FATHOM_INLINE F32 mad(Word a, Pairs b, F32 c) { return dot2(set1_pairs(a), b, c); }
  static FATHOM_INLINE Pairs load_b(const uint32_t* p) { return load_pairs(p); }
  static FATHOM_INLINE F32 load_c(const float* p) { return load(p); }
  static FATHOM_INLINE void store_c(float* p, F32 a) { store(p, a); }
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
  const float* row_scale;   // Start::kScaled
  float out_scale;          // C is multiplied by this at the end (exact where 1)
  int64_t ahead_step = 64;  // kAhead
};

// kUnit: a_row is 1, the rows of A are neighbours. With kAhead each step of the depth fetches a line into L2, the first one at
// `ahead` and the others ahead_step bytes from each other: many at once between the products would wait for each other.
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
        acc[r][v] = U::load_c(c + r * g.c_row + 16 * v);
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
      ahead += g.ahead_step;
    }
  }
  const F32 scale = set1(g.out_scale);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) U::store_c(c + r * g.c_row + 16 * v, acc[r][v] * scale);
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
// ahead(i): where the i-th of the column tiles begins to fetch.
struct NoAhead {};
constexpr int few_wide(int64_t rows) {  // vectors of a column tile
  return FATHOM_RUNG_LEVEL >= 2 ? (rows <= 2 ? 8 : rows <= 4 ? 4 : 3) : rows == 1 ? 4 : rows == 2 ? 2 : 1;
}
template <class U, int R, Start start, class B, class Ahead>
FATHOM_INLINE void few_rows(const Gemm<B>& g, const typename U::Word* a, const Ahead& ahead) {
  constexpr bool kWhole = FATHOM_RUNG_LEVEL >= 2 || R <= 6, kAhead = !std::is_same_v<Ahead, NoAhead>;
  constexpr int kWide = few_wide(R);
  int64_t v = 0, tile = 0;
  auto go = [&]<int NV>() {
    for (; v + NV <= g.nvec; v += NV, ++tile) {
      const B* b = g.b + 16 * v;
      float* c = g.c + 16 * v;
      const char* from = nullptr;
      if constexpr (kAhead) from = ahead(tile);
      panel<U, kWhole ? R : 4, NV, start, false, kAhead>(g, a, b, c, g.row_scale, from);
      if constexpr (!kWhole) panel<U, R - 4, NV, start, false>(g, a + 4 * g.a_row, b, c + 4 * g.c_row, g.row_scale + 4);
    }
  };
  go.template operator()<kWide>();
  if constexpr (kWide > 4) go.template operator()<4>();
  if constexpr (kWide > 2) go.template operator()<2>();
  if constexpr (kWide > 1) go.template operator()<1>();
}
template <class U, Start start, class B, class Ahead = NoAhead>
void gemm_few(const Gemm<B>& g, const typename U::Word* a, const Ahead& ahead = {}) {
  switch (g.rows) {
    case 1:
      return few_rows<U, 1, start>(g, a, ahead);
    case 2:
      return few_rows<U, 2, start>(g, a, ahead);
    case 3:
      return few_rows<U, 3, start>(g, a, ahead);
    case 4:
      return few_rows<U, 4, start>(g, a, ahead);
    case 5:
      return few_rows<U, 5, start>(g, a, ahead);
    case 6:
      return few_rows<U, 6, start>(g, a, ahead);
    case 7:
      return few_rows<U, 7, start>(g, a, ahead);
    case 8:
      return few_rows<U, 8, start>(g, a, ahead);
  }
}

}  // namespace fathom::FATHOM_RUNG
