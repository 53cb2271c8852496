// Packing: views of any layout and type into the panels of B and the micro-panels of A. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/bf16_pairs.h"
#include "backend/cpu/dot_words.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/transpose.h"
#include "kernels/matmul/kernel.h"

namespace fathom::FATHOM_RUNG {

FATHOM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
FATHOM_INLINE int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

template <class T>
FATHOM_INLINE const T* memory_row(const MatrixView& v, int64_t r) {
  return static_cast<const T*>(v.data) + (v.rows ? v.rows[r] : r) * v.ld;
}
template <bool kRound, class T>
FATHOM_INLINE F32 take(const T* p, int64_t n) {  // up to 16 elements; lanes beyond n are zero
  const F32 x = n >= kLanes ? load(p) : load_n(p, static_cast<int>(n));
  if constexpr (kRound && sizeof(T) == 4) return round_bf16(x);
  return x;
}
// Rows of 16 lanes x 16 k (k inside the row) -> 16 vectors, one a k. Missing rows and k are zero.
template <bool kRound, class T>
FATHOM_INLINE void take_transposed(const MatrixView& v, int64_t lane, int64_t lanes, int64_t k0, int64_t n, F32* r) {
  if (lanes >= 16 && n >= 16) {  // sixteen rows are more streams than are prefetched unasked
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const T* p = memory_row<T>(v, lane + i) + k0;
      prefetch(p + 256 / sizeof(T));
      r[i] = take<kRound>(p, 16);
    }
    transpose16(r);
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = i < lanes ? take<kRound>(memory_row<T>(v, lane + i) + k0, n) : zero();
  transpose16(r);
}
// The same for pairs: 16 lanes x 32 k -> 16 vectors, one a pair of k.
template <class T>
FATHOM_INLINE void take_pairs_transposed(const MatrixView& v, int64_t lane, int64_t lanes, int64_t k0, int64_t n, F32* r) {
  if (lanes >= 16 && n >= 32) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const T* p = memory_row<T>(v, lane + i) + k0;
      prefetch(p + 512 / sizeof(T));
      r[i] = as_f32(take_words(p, 32));
    }
  } else {
    for (int i = 0; i < 16; ++i) r[i] = i < lanes ? as_f32(take_words(memory_row<T>(v, lane + i) + k0, n)) : zero();
  }
  transpose16(r);
}

constexpr int64_t kRowsAhead = 16;  // rows of k fetched before they are packed

// ---- 16-bit integers with a power of two for 32 k (kernel.h): 32 k by 16 lanes at a time

constexpr uint32_t kInfinityBits = 0x7f800000;
// Of 32 k whose largest magnitude has the bits `largest`: the power of two that words of kBits bits are multiplied by, and its
// inverse, as bits. NaN and zero where something is not finite.
struct WordPower {
  uint32_t power, inverse;
};
template <uint32_t kBits>
FATHOM_INLINE WordPower word_power(uint32_t largest) {
  if (largest >= kInfinityBits) return {0x7fc00000u, 0};
  const uint32_t exponent = (largest >> 23 < kBits ? kBits : largest >> 23) - (kBits - 1);
  return {exponent << 23, (254 - exponent) << 23};
}

struct alignas(64) WordSquare {
  float values[32][16];  // rounded to bf16; 0 in lanes that hold what is not finite
  uint32_t powers[16];   // bits of floats
};
template <class T>
FATHOM_INLINE void take_square(const MatrixView& v, int64_t lane, int64_t lanes, int64_t k0, int64_t n, WordSquare& square) {
  if (v.k_contiguous) {
    for (int64_t part = 0; part < 32; part += 16) {
      F32 r[16];
      if (n > part) {
        take_transposed<true, T>(v, lane, lanes, k0 + part, n - part, r);
      } else {
        for (F32& x : r) x = zero();
      }
      for (int64_t i = 0; i < 16; ++i) store(square.values[part + i], r[i]);
    }
    return;
  }
  for (int64_t k = 0; k < 32; ++k) {
    if (k + 32 < n) prefetch(memory_row<T>(v, k0 + k + 32) + lane);
    store(square.values[k], k < n && lanes > 0 ? take<true>(memory_row<T>(v, k0 + k) + lane, lanes) : zero());
  }
}
// Sets the powers. words[i]: of 16 lanes the integers of k = 2i and 2i + 1.
FATHOM_INLINE void square_words(WordSquare& square, Pairs* words) {
  F32 largest = zero();
  for (int i = 0; i < 32; ++i) largest = larger_magnitude(load(square.values[i]), largest);
  alignas(64) uint32_t bits[16], inverse_bits[16];
  store(reinterpret_cast<float*>(bits), largest);
  bool finite = true;
  for (int i = 0; i < 16; ++i) {
    const WordPower power = word_power<kWordBits>(bits[i]);
    square.powers[i] = power.power;
    inverse_bits[i] = power.inverse;
    finite &= bits[i] < kInfinityBits;
  }
  if (!finite)
    for (int i = 0; i < 16; ++i)
      for (auto& row : square.values)
        if (bits[i] >= kInfinityBits) row[i] = 0;
  const F32 inverse = load(reinterpret_cast<const float*>(inverse_bits));
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    words[i] = make_words(load(square.values[2 * i]) * inverse, load(square.values[2 * i + 1]) * inverse);
}

// ---- B ----

template <class T>
void pack_panel_f32(const MatrixView& b, int64_t n0, int64_t lanes, int64_t k0, int64_t kc, float* out) {
  if (b.k_contiguous) {
    for (int64_t k = 0; k < kc; k += 16)
      for (int64_t half = 0; half < kPanel; half += 16) {
        F32 r[16];
        take_transposed<false, T>(b, n0 + half, lanes - half, k0 + k, kc - k, r);
        const int64_t count = least(16, kc - k);
        for (int64_t i = 0; i < count; ++i) store(out + (k + i) * kPanel + half, r[i]);
      }
  } else {
    for (int64_t k = 0; k < kc; ++k) {
      const T* p = memory_row<T>(b, k0 + k) + n0;
      store(out + k * kPanel, take<false>(p, lanes));
      store(out + k * kPanel + 16, lanes > 16 ? take<false>(p + 16, lanes - 16) : zero());
    }
  }
}

template <class T>
void pack_panel_pairs(const MatrixView& b, int64_t n0, int64_t lanes, int64_t k0, int64_t kc, int64_t kc_padded,
                      uint32_t* out) {
  if (b.k_contiguous) {
    for (int64_t k = 0; k < kc_padded; k += 32)
      for (int64_t half = 0; half < kPanel; half += 16) {
        F32 r[16];
        take_pairs_transposed<T>(b, n0 + half, lanes - half, k0 + k, kc - k, r);
        for (int64_t i = 0; i < 16; ++i) store(reinterpret_cast<float*>(out + (k / 2 + i) * kPanel + half), r[i]);
      }
    return;
  }
  int64_t k = 0;
  if (lanes == kPanel) {
    const auto fetch = [&](int64_t row)
        __attribute__((always_inline)) {  // a line or two of rows that lie far apart: nobody else does
      if (row >= kc) return;
      const T* p = memory_row<T>(b, k0 + row) + n0;
      prefetch(p);
      if (sizeof(T) == 4) prefetch(p + 16);
    };
    for (; k + 2 <= kc; k += 2) {
      fetch(k + kRowsAhead);
      fetch(k + kRowsAhead + 1);
      take_32_pairs(memory_row<T>(b, k0 + k) + n0, memory_row<T>(b, k0 + k + 1) + n0, out + k / 2 * kPanel);
    }
  }
  for (; k < kc_padded; k += 2)
    for (int64_t half = 0; half < kPanel; half += 16) {
      uint32_t* to = out + k / 2 * kPanel + half;
      if (k >= kc || half >= lanes) {
        store(reinterpret_cast<float*>(to), zero());
        continue;
      }
      const T *x = memory_row<T>(b, k0 + k) + n0 + half, *y = k + 1 < kc ? memory_row<T>(b, k0 + k + 1) + n0 + half : nullptr;
      store_pairs(to, take_pairs(x, y, lanes - half));
    }
}

// Squares of 32 k x 16 columns of kWords.
template <class T>
void pack_panel_words(const MatrixView& b, int64_t n0, int64_t lanes, int64_t k0, int64_t kc, char* out) {
  for (int64_t k = 0; k < kc; k += 32) {
    char* block = out + k / kBlockK * kWordsBlockBytes;
    if (k % kBlockK == 0 && kc - k < kBlockK) __builtin_memset(block, 0, static_cast<size_t>(kWordsLayout.header));
    for (int64_t half = 0; half < kPanel; half += 16) {
      WordSquare square;
      take_square<T>(b, n0 + half, lanes - half, k0 + k, kc - k, square);
      Pairs words[16];
      square_words(square, words);
      char* to = block + kWordsLayout.header + k % kBlockK / 2 * kPanelRow + half * 4;
      for (int64_t i = 0; i < 16; ++i) store_pairs(to + i * kPanelRow, words[i]);
      for (int64_t i = 0; i < 16; ++i)
        block[k % kBlockK + half + i] = static_cast<char>(square.powers[i] >> 23);  // [k / 32][32]
    }
  }
}

// See PackPanel. k0 is a multiple of kBlockK; the padding follows the last k.
inline __attribute__((always_inline)) void pack_panel(const MatrixView& b, int64_t panel, int64_t n, int64_t k0, int64_t kc,
                                                      PanelFormat format, void* out) {
  const int64_t n0 = panel * kPanel, lanes = least(kPanel, n - n0);
  switch (format) {
    case PanelFormat::kF32:
      if (b.bf16)
        pack_panel_f32<bf16>(b, n0, lanes, k0, kc, static_cast<float*>(out));
      else
        pack_panel_f32<float>(b, n0, lanes, k0, kc, static_cast<float*>(out));
      break;
    case PanelFormat::kPairs:
      if (b.bf16)
        pack_panel_pairs<bf16>(b, n0, lanes, k0, kc, round_up(kc, 32), static_cast<uint32_t*>(out));
      else
        pack_panel_pairs<float>(b, n0, lanes, k0, kc, round_up(kc, 32), static_cast<uint32_t*>(out));
      break;
    case PanelFormat::kWords:
      if (b.bf16)
        pack_panel_words<bf16>(b, n0, lanes, k0, kc, static_cast<char*>(out));
      else
        pack_panel_words<float>(b, n0, lanes, k0, kc, static_cast<char*>(out));
      break;
  }
}

// ---- A ----
// `along`: k inside the view's memory rows -> [row][k] with a fixed distance between rows;
// otherwise                               -> [k][kMicroLanes] for each micro-tile.
constexpr int kMicroLanes = FATHOM_RUNG_LEVEL >= 2 ? 16 : 8;
FATHOM_INLINE void store_lanes(float* p, F32 x) { kMicroLanes == 16 ? store(p, x) : store8(p, x); }

// Rows of floats (rounded or not), k padded to kc_padded with zeros.
template <bool kRound, class T>
void pack_rows_f32(const MatrixView& a, int64_t m0, int64_t rows, int64_t k0, int64_t kc, int64_t kc_padded, int64_t stride,
                   float* out) {
  for (int64_t m = 0; m < rows; ++m) {
    const T* p = memory_row<T>(a, m0 + m) + k0;
    float* q = out + m * stride;
    int64_t k = 0;
    for (; k + 16 <= kc; k += 16) store(q + k, take<kRound>(p + k, 16));
    for (; k < kc_padded; k += 16) store(q + k, k < kc ? take<kRound>(p + k, kc - k) : zero());  // `stride` leaves room
  }
}
// Rows of bf16.
template <class T>
void pack_rows_bf16(const MatrixView& a, int64_t m0, int64_t rows, int64_t k0, int64_t kc, int64_t kc_padded, int64_t stride,
                    bf16* out) {
  for (int64_t m = 0; m < rows; ++m) {
    const T* p = memory_row<T>(a, m0 + m) + k0;
    bf16* q = out + m * stride;
    for (int64_t k = 0; k < kc_padded; k += 32)  // `stride` leaves room
      store_pairs(q + k, k < kc ? take_words(p + k, kc - k) : as_pairs(zero()));
  }
}
// All micro-tiles of a block, each [k][kMicroLanes] and `stride` words from the next; the first `large` have small + 1 lanes.
// k is the outer loop: a memory row is read once, from end to end. Lanes behind a tile's own hold the next tile's, or zero.
template <bool kRound, class T>
void pack_lanes_f32(const MatrixView& a, int64_t m0, int64_t micros, int64_t small, int64_t large, int64_t k0, int64_t kc,
                    int64_t kc_padded, int64_t stride, float* out) {
  const int64_t rows = micros * small + large;
  for (int64_t k = 0; k < kc_padded; ++k) {
    const T* p = k < kc ? memory_row<T>(a, k0 + k) + m0 : nullptr;
    for (int64_t i = 0, m = 0; i < micros; ++i) {
      store_lanes(out + i * stride + k * kMicroLanes, p ? take<kRound>(p + m, rows - m) : zero());
      m += small + (i < large);
    }
  }
}
// The same for pairs: [k/2][kMicroLanes]; lanes behind a tile's own are zero.
template <class T>
void pack_lanes_pairs(const MatrixView& a, int64_t m0, int64_t micros, int64_t small, int64_t large, int64_t k0, int64_t kc,
                      int64_t kc_padded, int64_t stride, uint32_t* out) {
  for (int64_t k = 0; k < kc_padded; k += 2) {
    const T* p = k < kc ? memory_row<T>(a, k0 + k) + m0 : nullptr;
    const T* q = k + 1 < kc ? memory_row<T>(a, k0 + k + 1) + m0 : nullptr;
    const bool ahead = k + kRowsAhead + 1 < kc;
    const T* p_ahead = ahead ? memory_row<T>(a, k0 + k + kRowsAhead) + m0 : nullptr;
    const T* q_ahead = ahead ? memory_row<T>(a, k0 + k + kRowsAhead + 1) + m0 : nullptr;
    for (int64_t i = 0, m = 0; i < micros; ++i) {
      const int64_t lanes = small + (i < large);
      if (ahead) prefetch(p_ahead + m), prefetch(q_ahead + m);
      store_lanes(reinterpret_cast<float*>(out + i * stride + k / 2 * kMicroLanes),
                  p ? as_f32(take_pairs(p + m, q ? q + m : nullptr, lanes)) : zero());
      m += lanes;
    }
  }
}
// 16 lanes as rows of bf16 (for tiles, whose A has k inside the row): pairs of 32 k, transposed.
template <class T>
void pack_lanes_as_rows(const MatrixView& a, int64_t m0, int64_t lanes, int64_t k0, int64_t kc, int64_t kc_padded,
                        int64_t stride, bf16* out) {
  for (int64_t k = 0; k < kc_padded; k += 32) {
    F32 r[16];
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t at = k + 2 * i;
      const T* x = at < kc ? memory_row<T>(a, k0 + at) + m0 : nullptr;
      const T* y = at + 1 < kc ? memory_row<T>(a, k0 + at + 1) + m0 : nullptr;
      r[i] = x ? as_f32(take_pairs(x, y, lanes)) : zero();
    }
    transpose16(r);
    for (int64_t i = 0; i < 16 && i < lanes; ++i) store(reinterpret_cast<float*>(out + i * stride + k), r[i]);
  }
}

}  // namespace fathom::FATHOM_RUNG
