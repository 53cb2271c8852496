// Packed codes to bf16 pairs, floats or 16-bit integers, in registers: exact small integers (E4M3: value / 256). For *_cpu.cpp
// files.
//
// A decoder D of a format has
//   D::pairs(codes, padded, step, f)   f(unit, half, Pairs) for the 8 pairs of k by 2 halves of 16 k: k = 16 step + 2 unit;
//                                      units of a half in order
//   D::floats(codes, padded, step, f)  f(unit, half, F32 even, F32 odd) likewise: what costs the fewest instructions, which is
//     codes of 8 bits   the value times D::kFloatUnit, a power of two
//     of fewer          what is stored, BlockLayout::offset and all, times 2^code_place(k)
//   D::words(codes, padded, step, f)   f(unit, half, Pairs) as pairs() has it: what is stored, BlockLayout::offset and all, as
//                                      integers. Not of E4M3
//   D::words_apart(codes, step, f)     where D::kApart: f(unit, vector, Pairs) likewise, times 1, 16, 256 and 1 by vector, so
//                                      that each has sums of its own; D::join(sums) makes the two halves' of the four
//   D::scale(head, header, group, half), D::min(header, group, half)   16 columns; head: of the panel, header: of the block
// `codes` is behind the block's header, `padded` the block's k (a multiple of 32).
#pragma once
#include "backend/cpu/dot_bf16.h"
#include "backend/cpu/simd_int.h"
#include "kernels/matmul/block_format.h"
#include "kernels/matmul/widen_fp8.h"

namespace fathom::FATHOM_RUNG {

// ---- 64 bytes, 32 words or 16 integers of 32 bits in a Pairs

#if FATHOM_RUNG_LEVEL >= 1
// The shuffle of a lane that moves byte kFirst + kDistance i to the top of the i-th 32 bits, with zeros below.
template <int kFirst, int kDistance>
FATHOM_INLINE __m128i top_bytes() {
  constexpr auto at = [](int i) { return (kFirst + kDistance * i) << 24 | 0x808080; };
  return _mm_setr_epi32(at(0), at(1), at(2), at(3));
}
#endif

#if FATHOM_RUNG_LEVEL >= 2
FATHOM_INLINE Pairs shift_right(Pairs a, int n) { return {_mm512_srli_epi16(a.v, static_cast<unsigned>(n))}; }
FATHOM_INLINE F32 int_even(Pairs a) { return {_mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(a.v, 16), 16))}; }
FATHOM_INLINE F32 int_odd(Pairs a) { return {_mm512_cvtepi32_ps(_mm512_srai_epi32(a.v, 16))}; }
FATHOM_INLINE Pairs mask_words(Pairs a, uint16_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi16(static_cast<int16_t>(mask)))};
}
FATHOM_INLINE Pairs or_words(Pairs a, Pairs b) { return {_mm512_or_si512(a.v, b.v)}; }
FATHOM_INLINE Pairs shift_left(Pairs a, int n) { return {_mm512_slli_epi16(a.v, static_cast<unsigned>(n))}; }
FATHOM_INLINE F32 int_values(Pairs a) { return {_mm512_cvtepi32_ps(a.v)}; }
FATHOM_INLINE Pairs mask_ints(Pairs a, uint32_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi32(static_cast<int>(mask)))};
}
template <int kFirst, int kDistance>
FATHOM_INLINE Pairs bytes_on_top(Pairs a) {
  return {_mm512_shuffle_epi8(a.v, _mm512_broadcast_i32x4(top_bytes<kFirst, kDistance>()))};
}
// 64 bytes -> the words of both halves, signs extended.
FATHOM_INLINE void unpack_bytes(const char* p, Pairs& half0, Pairs& half1) {
  const __m512i x = _mm512_loadu_si512(p), sign = _mm512_movm_epi8(_mm512_movepi8_mask(x));
  half0.v = _mm512_unpacklo_epi8(x, sign);
  half1.v = _mm512_unpackhi_epi8(x, sign);
}
FATHOM_INLINE F32 load_f16(const char* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
FATHOM_INLINE F32 load_u8(const char* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
FATHOM_INLINE F32 load_powers(const char* p) {
  return {
      _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 23))};
}
FATHOM_INLINE F32 load_i8(const char* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
#elif FATHOM_RUNG_LEVEL == 1
FATHOM_INLINE Pairs shift_right(Pairs a, int n) { return {_mm256_srli_epi16(a.lo, n), _mm256_srli_epi16(a.hi, n)}; }
FATHOM_INLINE Pairs shift_left(Pairs a, int n) { return {_mm256_slli_epi16(a.lo, n), _mm256_slli_epi16(a.hi, n)}; }
FATHOM_INLINE Pairs mask_ints(Pairs a, uint32_t mask) {
  const __m256i m = _mm256_set1_epi32(static_cast<int>(mask));
  return {_mm256_and_si256(a.lo, m), _mm256_and_si256(a.hi, m)};
}
FATHOM_INLINE Pairs mask_words(Pairs a, uint16_t mask) { return mask_ints(a, mask * 0x10001u); }
FATHOM_INLINE Pairs or_words(Pairs a, Pairs b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
FATHOM_INLINE F32 int_values(Pairs a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
template <int kFirst, int kDistance>
FATHOM_INLINE Pairs bytes_on_top(Pairs a) {
  const __m256i pick = _mm256_broadcastsi128_si256(top_bytes<kFirst, kDistance>());
  return {_mm256_shuffle_epi8(a.lo, pick), _mm256_shuffle_epi8(a.hi, pick)};
}
FATHOM_INLINE void unpack_bytes(const char* p, Pairs& half0, Pairs& half1) {
  const Pairs x = load_pairs(p);
  const auto low = [](__m256i v) { return _mm256_srai_epi16(_mm256_unpacklo_epi8(v, v), 8); };
  const auto high = [](__m256i v) { return _mm256_srai_epi16(_mm256_unpackhi_epi8(v, v), 8); };
  half0 = {low(x.lo), low(x.hi)};
  half1 = {high(x.lo), high(x.hi)};
}
FATHOM_INLINE F32 load_f16(const char* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
FATHOM_INLINE F32 load_u8(const char* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(x, 8)))};
}
FATHOM_INLINE F32 load_powers(const char* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const auto power = [](__m128i e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(e), 23)); };
  return {power(x), power(_mm_srli_si128(x, 8))};
}
FATHOM_INLINE F32 load_i8(const char* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
#else
// Shifts of 16-bit words as shifts of 32-bit ones: callers mask what crosses over.
FATHOM_INLINE Pairs mask_words(Pairs a, uint16_t mask) { return {a.v & (mask * 0x10001u)}; }
FATHOM_INLINE Pairs shift_right(Pairs a, int n) { return mask_words({a.v >> n}, static_cast<uint16_t>(0xffffu >> n)); }
FATHOM_INLINE Pairs shift_left(Pairs a, int n) { return mask_words({a.v << n}, static_cast<uint16_t>(0xffffu << n)); }
FATHOM_INLINE F32 int_even(Pairs a) { return {__builtin_convertvector((V16i)(a.v << 16) >> 16, V16f)}; }
FATHOM_INLINE F32 int_odd(Pairs a) { return {__builtin_convertvector((V16i)a.v >> 16, V16f)}; }
FATHOM_INLINE Pairs or_words(Pairs a, Pairs b) { return {a.v | b.v}; }
FATHOM_INLINE F32 int_values(Pairs a) { return {__builtin_convertvector((V16i)a.v, V16f)}; }
FATHOM_INLINE Pairs mask_ints(Pairs a, uint32_t mask) { return {a.v & mask}; }
template <int kFirst, int kDistance>
FATHOM_INLINE Pairs bytes_on_top(Pairs a) {
  Pairs r;
  for (int i = 0; i < 16; ++i) {
    const int byte = i / 4 * 16 + kFirst + kDistance * (i % 4);
    r.v[i] = a.v[byte / 4] >> (byte % 4 * 8) << 24;
  }
  return r;
}
FATHOM_INLINE void unpack_bytes(const char* p, Pairs& half0, Pairs& half1) {
  int16_t words[2][32];
  for (int i = 0; i < 64; ++i) words[i / 8 % 2][i / 16 * 8 + i % 8] = static_cast<int8_t>(p[i]);
  half0 = load_pairs(words[0]);
  half1 = load_pairs(words[1]);
}
FATHOM_INLINE F32 load_f16(const char* p) {
  f16 h[16];
  std::memcpy(h, p, sizeof h);
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = to_float(h[i]);
  return r;
}
FATHOM_INLINE F32 load_u8(const char* p) {
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(static_cast<uint8_t>(p[i]));
  return r;
}
FATHOM_INLINE F32 load_powers(const char* p) {
  V16u bits;
  for (int i = 0; i < 16; ++i) bits[i] = static_cast<uint32_t>(static_cast<uint8_t>(p[i])) << 23;
  return {(V16f)bits};
}
FATHOM_INLINE F32 load_i8(const char* p) {
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(static_cast<int8_t>(p[i]));
  return r;
}
#endif

// ---- codes of up to 6 bits: value = code - kOffset. Where there is a 16-bit permute, a table of bf16 gives the value.

#if FATHOM_RUNG_LEVEL >= 2
template <int kOffset>
struct Bf16Table {
  uint16_t value[64];
  constexpr Bf16Table() : value{} {
    for (int i = 0; i < 64; ++i) {
      // bf16 of a small integer: sign, exponent of the highest bit, the bits below it.
      const int x = i - kOffset, m = x < 0 ? -x : x;
      int e = 0;
      while (m >> (e + 1)) ++e;
      value[i] = m == 0 ? uint16_t{0} : static_cast<uint16_t>((x < 0 ? 0x8000 : 0) | (127 + e) << 7 | ((m << 7 >> e) & 0x7f));
    }
  }
};
template <int kOffset>
constexpr Bf16Table<kOffset> kBf16Table{};
#endif

// Where a byte that holds a code stands in its 32 bits: rows of A are divided by as much before (gemm_blocks_cpu.cpp).
constexpr int code_place(int64_t k) { return k % 2 * 16 + k / 2 % 2 * 8; }

template <int kBits, int kOffset>
struct SmallCodes {
  static constexpr float kFloatUnit = 1;
  static constexpr int kHigh = kBits - 4;               // bits that do not stand with the nibbles
  static constexpr int kQuads = kHigh ? 4 / kHigh : 1;  // quads that share a vector of them
  static constexpr uint16_t kMask = (1 << kBits) - 1;
  // The bits above the nibbles of quad q (0..3) of a step, those that stand from bit `at` on at bit 4, in every word masked.
  FATHOM_INLINE static Pairs upper(const char* codes, int64_t padded, int64_t step, int q, int at, int mask) {
    const Pairs x = load_pairs(codes + padded * kPanel / 2 + (step * kHigh + q / kQuads) * 64);
    at += 2 * kHigh * (q % kQuads);
    return mask_words(at <= 4 ? shift_left(x, 4 - at) : shift_right(x, at - 4), static_cast<uint16_t>(mask));
  }
  template <class F>
  FATHOM_INLINE static void floats(const char* codes, int64_t padded, int64_t step, F f) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const Pairs nibbles = load_pairs(codes + (step * 4 + q) * 64);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        Pairs x = half ? shift_right(nibbles, 4) : nibbles;  // a code a byte; of nibbles, with dirt above
        if constexpr (kHigh > 0)
          x = or_words(mask_words(x, 0x0f0f), upper(codes, padded, step, q, kHigh * half, (kMask & ~15) * 0x101));
#pragma GCC unroll 2
        for (int pair = 0; pair < 2; ++pair)
          f(2 * q + pair, half, int_values(mask_ints(x, uint32_t{kMask} << code_place(2 * pair))),
            int_values(mask_ints(x, uint32_t{kMask} << code_place(2 * pair + 1))));
      }
    }
  }
  // The words of vector j (0..3) of quad q of a step, as integers; of nibbles with dirt above unless kClean.
  template <bool kClean>
  FATHOM_INLINE static Pairs word(const char* codes, int64_t padded, int64_t step, int q, int j) {
    const Pairs nibbles = shift_right(load_pairs(codes + (step * 4 + q) * 64), 4 * j);
    if constexpr (kHigh == 0)
      return kClean && j < 3 ? mask_words(nibbles, 15) : nibbles;
    else
      return or_words(mask_words(nibbles, 15), upper(codes, padded, step, q, 8 * (j / 2) + kHigh * (j % 2), kMask & ~15));
  }
  template <class F>
  FATHOM_INLINE static void words(const char* codes, int64_t padded, int64_t step, F f) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) f(2 * q + j / 2, j % 2, word<true>(codes, padded, step, q, j));
  }
  // A mask alone for three vectors of four, where words() masks and shifts. In 32 bits: 16 products of words of 15 bits with at
  // most 15 x 256, which is what a vector has of 32 k.
  static constexpr bool kApart = kHigh == 0;
  template <class F>
  FATHOM_INLINE static void words_apart(const char* codes, int64_t step, F f) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const Pairs nibbles = load_pairs(codes + (step * 4 + q) * 64);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        f(2 * q + j / 2, j, j < 3 ? mask_words(nibbles, static_cast<uint16_t>(15 << 4 * j)) : shift_right(nibbles, 12));
    }
  }
  FATHOM_INLINE static void join(I32* sums) {
    sums[0] = sums[0] + shift_right(sums[2], 8);
    sums[1] = sums[3] + shift_right(sums[1], 4);
  }
#if FATHOM_RUNG_LEVEL != 1
  template <class F>
  FATHOM_INLINE static void pairs(const char* codes, int64_t padded, int64_t step, F f) {
#if FATHOM_RUNG_LEVEL >= 2
    const __m512i low = _mm512_loadu_si512(kBf16Table<kOffset>.value);
    // The permute takes 5 bits of an index: for nibbles both halves of the table are the same.
    const __m512i table = kBits == 4 ? _mm512_inserti64x4(low, _mm512_castsi512_si256(low), 1) : low;
#else
    const F32 offset = set1(static_cast<float>(kOffset));
#endif
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Pairs w = word<FATHOM_RUNG_LEVEL == 0>(codes, padded, step, q, j);  // the table ignores what is above
#if FATHOM_RUNG_LEVEL >= 2
        if constexpr (kBits == 6)
          f(2 * q + j / 2, j % 2,
            Pairs{_mm512_permutex2var_epi16(table, w.v, _mm512_loadu_si512(kBf16Table<kOffset>.value + 32))});
        else
          f(2 * q + j / 2, j % 2, Pairs{_mm512_permutexvar_epi16(w.v, table)});
#else
        f(2 * q + j / 2, j % 2, make_pairs(int_even(w) - offset, int_odd(w) - offset));
#endif
      }
  }
#endif
};

// ---- int8

#if FATHOM_RUNG_LEVEL >= 3
// The two bytes of bf16(m) for m in 0..127.
struct Bf16Bytes {
  uint8_t low[128], high[128];
  constexpr Bf16Bytes() : low{}, high{} {
    for (int m = 1; m < 128; ++m) {
      int e = 0;
      while (m >> (e + 1)) ++e;
      const int bits = (127 + e) << 7 | ((m << 7 >> e) & 0x7f);
      low[m] = static_cast<uint8_t>(bits);
      high[m] = static_cast<uint8_t>(bits >> 8);
    }
  }
};
constexpr Bf16Bytes kBf16Bytes{};
#endif

struct ByteCodes {
  static constexpr float kFloatUnit = 0x1p24f;
  static constexpr bool kApart = false;
  template <class F>
  FATHOM_INLINE static void floats(const char* codes, int64_t, int64_t step, F f) {
#pragma GCC unroll 8
    for (int unit = 0; unit < 8; ++unit) {
      const Pairs x = load_pairs(codes + (step * 8 + unit) * 64);
      f(unit, 0, int_values(bytes_on_top<0, 2>(x)), int_values(bytes_on_top<1, 2>(x)));
      f(unit, 1, int_values(bytes_on_top<8, 2>(x)), int_values(bytes_on_top<9, 2>(x)));
    }
  }
  template <class F>
  FATHOM_INLINE static void words(const char* codes, int64_t, int64_t step, F f) {
#pragma GCC unroll 8
    for (int unit = 0; unit < 8; ++unit) {
      Pairs half0, half1;
      unpack_bytes(codes + (step * 8 + unit) * 64, half0, half1);
      f(unit, 0, half0);
      f(unit, 1, half1);
    }
  }
#if FATHOM_RUNG_LEVEL != 1
  template <class F>
  FATHOM_INLINE static void pairs(const char* codes, int64_t, int64_t step, F f) {
#if FATHOM_RUNG_LEVEL >= 3
    const __m512i low0 = _mm512_loadu_si512(kBf16Bytes.low), low1 = _mm512_loadu_si512(kBf16Bytes.low + 64);
    const __m512i high0 = _mm512_loadu_si512(kBf16Bytes.high), high1 = _mm512_loadu_si512(kBf16Bytes.high + 64);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int unit = 0; unit < 8; ++unit) {
      const __m512i x = _mm512_loadu_si512(codes + (step * 8 + unit) * 64), m = _mm512_abs_epi8(x);
      const __m512i low = _mm512_permutex2var_epi8(low0, m, low1);
      __m512i high = _mm512_permutex2var_epi8(high0, m, high1);
      high = _mm512_ternarylogic_epi64(high, x, sign, 0xf8);  // high | (x & sign)
      // The magnitude of -128 has eight bits: bf16(-128) is c300.
      high = _mm512_mask_mov_epi8(high, _mm512_cmpeq_epi8_mask(x, sign), _mm512_set1_epi8(static_cast<char>(0xc3)));
      f(unit, 0, Pairs{_mm512_unpacklo_epi8(low, high)});
      f(unit, 1, Pairs{_mm512_unpackhi_epi8(low, high)});
    }
#else
    words(codes, 0, step, [&](int unit, int half, Pairs w) { f(unit, half, make_pairs(int_even(w), int_odd(w))); });
#endif
  }
#endif
};

// ---- E4M3: [k][32] bytes

struct E4m3Codes {
  static constexpr float kFloatUnit = 1;
  template <class F>
  FATHOM_INLINE static void floats(const char* codes, int64_t, int64_t step, F f) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(codes) + step * 16 * kPanel;
#pragma GCC unroll 8
    for (int unit = 0; unit < 8; ++unit, bytes += 2 * kPanel) {
      f(unit, 0, widen_e4m3(bytes), widen_e4m3(bytes + kPanel));
      f(unit, 1, widen_e4m3(bytes + 16), widen_e4m3(bytes + kPanel + 16));
    }
  }
  template <class F>
  FATHOM_INLINE static void pairs(const char* codes, int64_t padded, int64_t step, F f) {
    floats(codes, padded, step, [&](int unit, int half, F32 even, F32 odd) { f(unit, half, make_pairs(even, odd)); });
  }
};

// ---- formats

FATHOM_INLINE F32 load_floats(const char* p) { return load(reinterpret_cast<const float*>(p)); }

struct DecodeFp8 : E4m3Codes {
  static constexpr WeightFormat kFormat = WeightFormat::kFp8Block;
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t, int64_t half) {
    return load_floats(header + 64 * half);
  }
  FATHOM_INLINE static F32 min(const char*, int64_t, int64_t) { return zero(); }
};
struct DecodeInt8Row : ByteCodes {
  static constexpr WeightFormat kFormat = WeightFormat::kInt8Row;
  FATHOM_INLINE static F32 scale(const char* head, const char*, int64_t, int64_t half) { return load_floats(head + 64 * half); }
  FATHOM_INLINE static F32 min(const char*, int64_t, int64_t) { return zero(); }
};
// f16 scales [4][32].
template <WeightFormat kOf, class Codes>
struct DecodeSimple : Codes {
  static constexpr WeightFormat kFormat = kOf;
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t group, int64_t half) {
    return load_f16(header + (group * kPanel + 16 * half) * 2);
  }
  FATHOM_INLINE static F32 min(const char* header, int64_t group, int64_t half) {
    return load_f16(header + ((4 + group) * kPanel + 16 * half) * 2);
  }
};
using DecodeQ8_0 = DecodeSimple<WeightFormat::kQ8_0, ByteCodes>;
using DecodeQ4_0 = DecodeSimple<WeightFormat::kQ4_0, SmallCodes<4, 8>>;
using DecodeQ4_1 = DecodeSimple<WeightFormat::kQ4_1, SmallCodes<4, 0>>;
using DecodeQ5_0 = DecodeSimple<WeightFormat::kQ5_0, SmallCodes<5, 16>>;

// f32 scales [groups of a block][32].
template <WeightFormat kOf>
struct DecodeInt4 : SmallCodes<4, 8> {
  static constexpr WeightFormat kFormat = kOf;
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t group, int64_t half) {
    return load_floats(header + (group * kPanel + 16 * half) * 4);
  }
  FATHOM_INLINE static F32 min(const char*, int64_t, int64_t) { return zero(); }
};

struct DecodeQ4_K : SmallCodes<4, 0> {
  static constexpr WeightFormat kFormat = WeightFormat::kQ4_K;
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t group, int64_t half) {
    return load_f16(header + 32 * half) * load_u8(header + 128 + group * kPanel + 16 * half);
  }
  FATHOM_INLINE static F32 min(const char* header, int64_t group, int64_t half) {
    return zero() - load_f16(header + 64 + 32 * half) * load_u8(header + 256 + group * kPanel + 16 * half);
  }
};
struct DecodeQ6_K : SmallCodes<6, 32> {
  static constexpr WeightFormat kFormat = WeightFormat::kQ6_K;
  FATHOM_INLINE static F32 scale(const char*, const char* header, int64_t group, int64_t half) {
    return load_f16(header + 32 * half) * load_i8(header + 64 + group * kPanel + 16 * half);
  }
  FATHOM_INLINE static F32 min(const char*, int64_t, int64_t) { return zero(); }
};

}  // namespace fathom::FATHOM_RUNG
