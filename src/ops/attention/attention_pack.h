// Operands of the attention products: keys, values and queries widened to floats, or laid out in pairs for VDPBF16PS.
// For *_cpu.cpp files.
#pragma once
#include "ops/attention/attention_cpu.h"
#include "ops/attention/attention_gemm.h"

namespace fathom::FATHOM_RUNG {

// Rounds to the store's type and back: probabilities are an operand of a product, so they have the operands' type.
FATHOM_INLINE F32 round_to_store(F32 x, const float*) { return x; }
FATHOM_INLINE F32 round_to_store(F32 x, const bf16*) {  // finite values only
#if FATHOM_RUNG_LEVEL >= 2
  const __m512i u = _mm512_castps_si512(x.v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return {_mm512_castsi512_ps(_mm512_and_si512(r, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
#else
  bf16 t[16];
  store(t, x);
  return load(t);
#endif
}

// n elements to floats, zeros up to `padded`.
template <class T>
FATHOM_INLINE void widen_row(const T* from, int64_t n, int64_t padded, float* to) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(from + i));
  for (; i < padded; i += 16)
    store_n(to + i, load_n(from + i, static_cast<int>(n > i ? n - i : 0)), static_cast<int>(padded - i));
}

template <class U>
constexpr int64_t words(int64_t elements) {
  return (elements + U::kPer - 1) / U::kPer;
}
template <class U>
FATHOM_INLINE int64_t key_words(const AttentionHead& h) {
  return words<U>(h.key_width) + words<U>(h.shared_width);
}

// One row's segment of `n` elements as words, the last one padded with zero.
template <class T>
FATHOM_INLINE void to_words(const T* from, int64_t n, float* to) {
  widen_row(from, n, n, to);
}
FATHOM_INLINE void to_words(const bf16* from, int64_t n, uint32_t* to) {
  if (n % 2) to[n / 2] = 0;
  __builtin_memcpy(to, from, static_cast<size_t>(n) * 2);
}

// Keys of a block, [64][key_words]: natural order, key part then shared part. Rows from `valid` on are zeros: whatever
// stands in unused slots never enters.
template <class T, class U>
void pack_keys(const AttentionHead& h, const T* block, int64_t valid, typename U::Word* to) {
  const int64_t width = key_words<U>(h), key = words<U>(h.key_width);
  for (int64_t j = 0; j < valid; ++j) {
    to_words(block + j * h.row_width + h.key_offset, h.key_width, to + j * width);
    if (h.shared_width > 0) to_words(block + j * h.row_width + h.shared_offset, h.shared_width, to + j * width + key);
  }
  __builtin_memset(to + valid * width, 0, static_cast<size_t>((64 - valid) * width) * sizeof(typename U::Word));
}

// Values of a block: floats [64][stride], or pairs of keys [32][stride]; columns padded to 16 and rows from `valid` on are
// zeros.
template <class T>
void pack_values(const AttentionHead& h, const T* block, int64_t valid, int64_t stride, float* to) {
  const int64_t padded = padded_width(h.value_width);
  for (int64_t j = 0; j < valid; ++j)
    widen_row(block + j * h.row_width + h.value_offset, h.value_width, padded, to + j * stride);
  for (int64_t j = valid; j < 64; ++j) __builtin_memset(to + j * stride, 0, static_cast<size_t>(padded) * sizeof(float));
}
inline void pack_values(const AttentionHead& h, const bf16* block, int64_t valid, int64_t stride, uint32_t* to) {
  const int64_t padded = padded_width(h.value_width);
  for (int64_t j = 0; j < 64; j += 2)
    for (int64_t d = 0; d < padded; d += 16) {
      const int n = static_cast<int>(h.value_width - d < 16 ? h.value_width - d : 16);
      const bf16* row = block + j * h.row_width + h.value_offset + d;
      const F32 even = j < valid ? load_n(row, n) : zero(), odd = j + 1 < valid ? load_n(row + h.row_width, n) : zero();
      store_pairs(to + j / 2 * stride + d, make_pairs(even, odd));
    }
}

#if FATHOM_RUNG_LEVEL >= 2
// 16 rows of 16 words become 16 columns, in registers.
FATHOM_INLINE void transpose16(__m512i* a) {
  __m512i b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
  // a[4 q + c] holds, in each 128-bit part p, column 4 p + c of rows 4 q .. 4 q + 3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i lo01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88), hi01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i lo23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88),
                  hi23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    a[c] = _mm512_shuffle_i32x4(lo01, lo23, 0x88);
    a[4 + c] = _mm512_shuffle_i32x4(hi01, hi23, 0x88);
    a[8 + c] = _mm512_shuffle_i32x4(lo01, lo23, 0xdd);
    a[12 + c] = _mm512_shuffle_i32x4(hi01, hi23, 0xdd);
  }
}
#endif

// The same in memory: to[i][r] = from[r][i].
FATHOM_INLINE void transpose16(const void* from /* [16][16] words */, void* to, int64_t to_stride) {
#if FATHOM_RUNG_LEVEL >= 2
  __m512i a[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(static_cast<const __m512i*>(from) + i);
  transpose16(a);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(static_cast<uint32_t*>(to) + i * to_stride, a[i]);
#else
  for (int r = 0; r < 16; ++r)
    for (int i = 0; i < 16; ++i)
      __builtin_memcpy(static_cast<char*>(to) + (i * to_stride + r) * 4, static_cast<const char*>(from) + (r * 16 + i) * 4, 4);
#endif
}

// Rows that lie apart, row(i) the i-th of n, as columns of `width` elements: to[word][lanes]; lanes from n on are zeros.
template <class T, class U, class Row>
FATHOM_INLINE void pack_columns(const Row& row, int64_t n, int64_t lanes, int64_t width, typename U::Word* to) {
  for (int64_t lane = 0; lane < lanes; lane += 16)
    for (int64_t d = 0; d < width; d += 16 * U::kPer) {
      typename U::Word square[16 * 16], columns[16 * 16];
      const int64_t elements = width - d < 16 * U::kPer ? width - d : 16 * U::kPer, count = words<U>(elements);
      __builtin_memset(square, 0, sizeof square);
      for (int64_t i = 0; i < 16 && lane + i < n; ++i) to_words(row(lane + i) + d, elements, square + 16 * i);
      if (count == 16) {
        transpose16(square, to + d / U::kPer * lanes + lane, lanes);
      } else {
        transpose16(square, columns, 16);
        for (int64_t w = 0; w < count; ++w)
          __builtin_memcpy(to + (d / U::kPer + w) * lanes + lane, columns + 16 * w, sizeof(float) * 16);
      }
    }
}

}  // namespace fathom::FATHOM_RUNG
