// Decode with few lanes (at most 8: one query of a head or a small group). A product over lanes would use one lane in
// sixteen, so here keys lie along the vector: they are transposed on the way in. Each score is still the one chain over the
// width, so the bits are those of the wide form. Vector rungs, float words and pairs. For *_cpu.cpp files.
#pragma once
#include "ops/attention/attention_pack.h"

#if FATHOM_RUNG_LEVEL >= 1
namespace fathom::FATHOM_RUNG {

constexpr int64_t kFewLanes = 8;

#if FATHOM_RUNG_LEVEL >= 2
// Elements of a 64-byte line, and words of a transposed square of 16 keys as floats, in order of the elements.
template <class T>
constexpr int64_t kLine = 64 / sizeof(T);
FATHOM_INLINE __m512i load_line(const float* p, int64_t n) {
  return _mm512_maskz_loadu_epi32(lanes_below(static_cast<int>(n)), p);
}
FATHOM_INLINE __m512i load_line(const bf16* p, int64_t n) {
  return _mm512_maskz_loadu_epi16(n >= 32 ? 0xffffffffu : (1u << n) - 1u, p);
}
template <int N>
FATHOM_INLINE void multiply(__m512i word, const float* q, int64_t q_stride, F32* sum, const float*) {
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) sum[i] = fma(F32{_mm512_castsi512_ps(word)}, set1(q[i * q_stride]), sum[i]);
}
template <int N>
FATHOM_INLINE void multiply(__m512i word, const float* q, int64_t q_stride, F32* sum, const bf16*) {
  const F32 even{_mm512_castsi512_ps(_mm512_slli_epi32(word, 16))};
  const F32 odd{_mm512_castsi512_ps(_mm512_and_si512(word, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) sum[i] = fma(odd, set1(q[i * q_stride + 1]), fma(even, set1(q[i * q_stride]), sum[i]));
}

// One segment of the keys [0, 16 kGroups) of a block: sum[group][lane] += over its width. Rows past `last` are read as `last`.
template <int N, int kGroups, class T, class Prefetch>
FATHOM_INLINE void few_segment(const T* rows, int64_t row_width, int64_t last, int64_t width, const float* q, int64_t q_stride,
                               F32 (*sum)[N], Prefetch& prefetch) {
  for (int64_t d = 0; d < width; d += kLine<T>) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      __m512i a[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) a[r] = load_line(rows + (16 * g + r < last ? 16 * g + r : last) * row_width + d, width - d);
      transpose16(a);
#pragma GCC unroll 16
      for (int w = 0; w < 16; ++w) multiply<N>(a[w], q + d + w * kLine<T> / 16, q_stride, sum[g], rows);
      prefetch();
    }
  }
}

// s [N][64] = scale K Q^T for the keys 0 .. last of a block. q [N][q_stride]: key part, then (at q_shared) the shared part.
template <int N, class T, class Prefetch>
__attribute__((noinline)) void few_scores(const AttentionHead& h, const T* block, int64_t last, const float* q,
                                          int64_t q_shared, int64_t q_stride, float* s, Prefetch& prefetch) {
  const F32 scale = set1(h.scale);
  const int64_t part_offset[2] = {h.key_offset, h.shared_offset}, part_width[2] = {h.key_width, h.shared_width};
  const int parts = h.shared_width > 0 ? 2 : 1;
  for (int64_t j = 0; j <= last; j += 32) {
    F32 sum[2][N];
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < N; ++i) sum[g][i] = zero();
    for (int part = 0; part < parts; ++part) {
      const T* rows = block + j * h.row_width + part_offset[part];
      if (j + 16 <= last)
        few_segment<N, 2>(rows, h.row_width, last - j, part_width[part], q + part * q_shared, q_stride, sum, prefetch);
      else
        few_segment<N, 1>(rows, h.row_width, last - j, part_width[part], q + part * q_shared, q_stride, sum, prefetch);
    }
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < N; ++i) store(s + i * 64 + j + 16 * g, sum[g][i] * scale);
  }
}

#else
// 8 rows of 8 words become 8 columns, in registers.
FATHOM_INLINE void transpose8(__m256* a) {
  __m256 b[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {  // a[4 i + c]: column c of rows 4 i .. 4 i + 3, and column 4 + c above it
    a[4 * i] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m256 low = a[c], high = a[4 + c];
    a[c] = _mm256_permute2f128_ps(low, high, 0x20);
    a[4 + c] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}
// 32 bytes of a row, zeros from its n-th element on.
template <class T>
FATHOM_INLINE __m256 load_half_line(const T* p, int64_t n) {
  if (n >= static_cast<int64_t>(32 / sizeof(T))) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  T padded[32 / sizeof(T)] = {};
  __builtin_memcpy(padded, p, static_cast<size_t>(n) * sizeof(T));
  return _mm256_loadu_ps(reinterpret_cast<const float*>(padded));
}
// A column of words of 8 keys as floats; to: [elements][64 keys].
FATHOM_INLINE void store_column(__m256 words, float* to, const float*) { _mm256_storeu_ps(to, words); }
FATHOM_INLINE void store_column(__m256 words, float* to, const bf16*) {
  const F32 floats = split_pairs(_mm256_castps_si256(words));
  _mm256_storeu_ps(to, floats.lo);
  _mm256_storeu_ps(to + 64, floats.hi);
}
constexpr int64_t kFewDepth = 32;  // elements of 64 keys in scratch: a quarter of L1

// s [n][64] = scale K Q^T for the keys 0 .. last of a block: its elements are transposed, kFewDepth of every row at a time, so
// that a product with lanes as rows and keys along the vector reads them from L1. columns: scratch of kFewDepth x 64.
// prefetch() is called for every 16 lines.
template <class T, class Prefetch>
void few_scores(int64_t n, const AttentionHead& h, const T* block, int64_t last, const float* q, int64_t q_shared,
                int64_t q_stride, float* columns, float* s, Prefetch& prefetch) {
  constexpr int64_t kLine = 64 / sizeof(T), kHalf = kLine / 2, kPer = kHalf / 8;
  const int64_t part_offset[2] = {h.key_offset, h.shared_offset}, part_width[2] = {h.key_width, h.shared_width};
  const int parts = h.shared_width > 0 ? 2 : 1;
  for (int part = 0; part < parts; ++part) {
    const int64_t width = part_width[part];
    for (int64_t d = 0; d < width; d += kFewDepth) {
      const int64_t depth = (width - d < kFewDepth ? width - d : kFewDepth);
      for (int64_t key = 0; key <= last; key += 16)
        for (int64_t at = 0; at < depth; at += kLine) {
          for (int64_t first = key; first < key + 16; first += 8)
            for (int64_t half = at; half < at + kLine && half < depth; half += kHalf) {
              __m256 a[8];
#pragma GCC unroll 8
              for (int r = 0; r < 8; ++r)
                a[r] = load_half_line(
                    block + part_offset[part] + (first + r < last ? first + r : last) * h.row_width + d + half, depth - half);
              transpose8(a);
#pragma GCC unroll 8
              for (int w = 0; w < 8; ++w) store_column(a[w], columns + (half + kPer * w) * 64 + first, block);
            }
          prefetch();
        }
      const bool begin = part == 0 && d == 0, end = part == parts - 1 && d + depth == width;
      const Gemm<float> g{n, last / 16 + 1, depth, q_stride, 1, columns, 64, s, 64, nullptr, end ? h.scale : 1};
      const float* at = q + (part ? q_shared : 0) + d;
      begin ? gemm_few<FloatWord, Start::kZero>(g, at) : gemm_few<FloatWord, Start::kLoad>(g, at);
    }
  }
}
#endif

// One lane: s [64] becomes exp(s - m) for the keys 0 .. rel and 0 up to `last`; the sums have the tree of the wide form.
template <class T>
FATHOM_INLINE void few_softmax(float* s, int64_t rel, int64_t last, float* m, float* l, float* alpha) {
  alignas(64) static const float iota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  F32 x[4], top = set1(-__builtin_inff());
  const int64_t groups = last / 16 + 1;
  for (int64_t g = 0; g < groups; ++g) {
    x[g] = select_less(set1(static_cast<float>(rel < 64 ? rel : 64)), load(iota) + set1(static_cast<float>(16 * g)),
                       set1(-__builtin_inff()), load(s + 16 * g));
    top = max(x[g], top);
  }
  const F32 m_old = set1(*m), m_new = max(set1(reduce_max(top)), m_old), a = exp(m_old - m_new);
  F32 sum = zero();
  for (int64_t g = 0; g < groups; ++g) {
    const F32 p = exp(x[g] - m_new);
    sum = sum + p;
    store(s + 16 * g, round_to_store(p, static_cast<const T*>(nullptr)));
  }
  *m = first_lane(m_new);
  *alpha = first_lane(a);
  *l = first_lane(fma(set1(*l), a, set1(reduce_add(sum))));
}

#if FATHOM_RUNG_LEVEL >= 3
// The same over pairs. s [n][64] = scale K Q^T: the keys' words are transposed, four lines of every row at a time, so that a
// product with lanes as rows and keys along the vector reads them from L1. q [n][q_stride] words, padded to lines.
template <int N, Start start>
FATHOM_INLINE void few_product(const Gemm<uint32_t>& g, const uint32_t* q) {
  constexpr int kWide = N <= 4 ? 4 : 2;
  for (int64_t v = 0; v < g.nvec; v += kWide)
    panel<PairWord, N, kWide, start, false>(g, q, g.b + 16 * v, g.c + 16 * v, nullptr);
}
template <Start start>
void few_product(const Gemm<uint32_t>& g, const uint32_t* q) {
  switch (g.rows) {
    case 1:
      return few_product<1, start>(g, q);
    case 2:
      return few_product<2, start>(g, q);
    case 3:
      return few_product<3, start>(g, q);
    case 4:
      return few_product<4, start>(g, q);
    case 5:
      return few_product<5, start>(g, q);
    case 6:
      return few_product<6, start>(g, q);
    case 7:
      return few_product<7, start>(g, q);
    case 8:
      return few_product<8, start>(g, q);
  }
}
constexpr int64_t kFewDepth = 64;  // words: four lines
// words: scratch of kFewDepth x 64. prefetch() is called for every 16 lines.
template <class Prefetch>
void few_pair_scores(int64_t n, const AttentionHead& h, const bf16* block, int64_t last, const uint32_t* q, int64_t q_shared,
                     int64_t q_stride, uint32_t* words, float* s, Prefetch& prefetch) {
  const int64_t part_offset[2] = {h.key_offset, h.shared_offset}, part_width[2] = {h.key_width, h.shared_width};
  const int parts = h.shared_width > 0 ? 2 : 1;
  for (int part = 0; part < parts; ++part) {
    const bf16* rows = block + part_offset[part];
    const int64_t lines = (part_width[part] + 31) / 32;
    for (int64_t line = 0; line < lines; line += kFewDepth / 16) {
      const int64_t count = lines - line < kFewDepth / 16 ? lines - line : kFewDepth / 16;
      for (int64_t key = 0; key < 64; key += 16) {
        if (key > last) {  // whole vectors of keys that nobody sees: zeros, so that no NaN of unused memory is met
          for (int64_t w = 0; w < 16 * count; ++w) _mm512_storeu_si512(words + w * 64 + key, _mm512_setzero_si512());
          continue;
        }
        for (int64_t i = 0; i < count; ++i) {
          const int64_t d = 32 * (line + i);
          __m512i a[16];
#pragma GCC unroll 16
          for (int r = 0; r < 16; ++r)
            a[r] = load_line(rows + (key + r < last ? key + r : last) * h.row_width + d, part_width[part] - d);
          transpose16(a);
#pragma GCC unroll 16
          for (int w = 0; w < 16; ++w) _mm512_storeu_si512(words + (16 * i + w) * 64 + key, a[w]);
          prefetch();
        }
      }
      const bool first = part == 0 && line == 0, end = part == parts - 1 && line + count == lines;
      const Gemm<uint32_t> g{n, 4, 16 * count, q_stride, 1, words, 64, s, 64, nullptr, end ? h.scale : 1};
      const uint32_t* at = q + (part ? q_shared : 0) + 16 * line;
      first ? few_product<Start::kZero>(g, at) : few_product<Start::kLoad>(g, at);
    }
  }
}

// A lane's probabilities s [64], which are bf16 values, as pairs of keys in its first 32 words. What stands behind `last` is
// not read later.
FATHOM_INLINE void few_pairs(float* s, int64_t last) {
  for (int64_t j = 0; j <= last; j += 32) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(load(s + j + 16).v, load(s + j).v);
    _mm512_storeu_si512(s + j / 2, reinterpret_cast<__m512i>(pairs));
  }
}

// Words of probabilities: that of a lane and a pair of keys stands at at[i * lane + j * pair].
struct FewWords {
  const uint32_t* at;
  int64_t lane, pair;
};

// Columns [0, 16 NV) of N lanes: c (+)= P V over the keys 0 .. last; p: pairs of keys as words, v the first of the value's
// columns.
template <int N, int NV, bool kFresh>
__attribute__((noinline)) void few_values_panel(const bf16* v, int64_t row_width, int64_t last, const FewWords& p, float* c,
                                                int64_t c_row, const float* scale) {
  alignas(64) static const uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  F32 acc[N][NV];
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < NV; ++i) acc[r][i] = kFresh ? zero() : load(c + r * c_row + 16 * i) * set1(scale[r]);
  for (int64_t j = 0; j <= last; j += 2, v += 2 * row_width) {
    Pairs column[NV];
#pragma GCC unroll 4
    for (int i = 0; i < NV / 2; ++i) {
      const __m512i even = _mm512_loadu_si512(v + 32 * i),
                    odd = j < last ? _mm512_loadu_si512(v + row_width + 32 * i) : _mm512_setzero_si512();
      column[2 * i] = {_mm512_permutex2var_epi16(even, low, odd)};
      column[2 * i + 1] = {_mm512_permutex2var_epi16(even, high, odd)};
    }
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) {
      const Pairs x = set1_pairs(p.at[r * p.lane + j / 2 * p.pair]);
#pragma GCC unroll 8
      for (int i = 0; i < NV; ++i) acc[r][i] = dot2(x, column[i], acc[r][i]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < NV; ++i) store(c + r * c_row + 16 * i, acc[r][i]);
}
template <int N, bool kFresh>
FATHOM_INLINE void few_values(const AttentionHead& h, const bf16* block, int64_t last, const FewWords& p, float* c,
                              int64_t c_row, const float* scale) {
  constexpr int kWide = N <= 2 ? 8 : N <= 6 ? 4 : 2;
  const bf16* v = block + h.value_offset;
  int64_t d = 0;
  for (; d + 16 * kWide <= h.value_width; d += 16 * kWide)
    few_values_panel<N, kWide, kFresh>(v + d, h.row_width, last, p, c + d, c_row, scale);
  for (; d < h.value_width; d += 32) few_values_panel<N, 2, kFresh>(v + d, h.row_width, last, p, c + d, c_row, scale);
}
// n lanes (at most 8); c is scaled by scale [n] first, or starts at 0. The value's width is a multiple of 32.
template <bool kFresh>
void few_values(int64_t n, const AttentionHead& h, const bf16* block, int64_t last, const FewWords& p, float* c, int64_t c_row,
                const float* scale) {
  switch (n) {
    case 1:
      return few_values<1, kFresh>(h, block, last, p, c, c_row, scale);
    case 2:
      return few_values<2, kFresh>(h, block, last, p, c, c_row, scale);
    case 3:
      return few_values<3, kFresh>(h, block, last, p, c, c_row, scale);
    case 4:
      return few_values<4, kFresh>(h, block, last, p, c, c_row, scale);
    case 5:
      return few_values<5, kFresh>(h, block, last, p, c, c_row, scale);
    case 6:
      return few_values<6, kFresh>(h, block, last, p, c, c_row, scale);
    case 7:
      return few_values<7, kFresh>(h, block, last, p, c, c_row, scale);
    case 8:
      return few_values<8, kFresh>(h, block, last, p, c, c_row, scale);
  }
}
#endif

}  // namespace fathom::FATHOM_RUNG
#endif
