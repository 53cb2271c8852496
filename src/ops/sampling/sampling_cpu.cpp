#include "ops/sampling/sampling_cpu.h"

#include "backend/cpu/simd_int.h"
#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {

constexpr float kLowPart = 0x1p20f;
// Sums of both parts stay below 2^31 for so many tokens: 1,024 in a lane.
constexpr int64_t kSafe = 1024 * kLanes;

// A weight as two whole numbers: high 2^20 + low, both at most 2^20.
struct Parts {
  I32 high, low;
};
FATHOM_INLINE Parts parts(F32 v) {
  const I32 high = truncate(v * set1(1 / kLowPart));
  return {high, truncate(fnma(to_f32(high), set1(kLowPart), v))};
}
FATHOM_INLINE int64_t whole(I32 high, I32 low) { return (wide_sum(high) << 20) + wide_sum(low); }

FATHOM_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

FATHOM_INLINE F32 weigh(F32 x, F32 maximum, F32 k) { return exp((x - maximum) * k) * set1(0x1p40f); }

}  // namespace

void sampling_weigh(const float* x, int64_t n, float maximum, float inverse_temperature, float least, float* v, int64_t* sums) {
  const F32 m = set1(maximum), k = set1(inverse_temperature), bound = set1(least);
  for (int64_t begin = 0; begin < n; begin += kSamplingBlock) {
    I32 high = set1_i32(0), low = high;
    for_lanes(min_of(kSamplingBlock, n - begin), [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 w = weigh(load_or_none(x + begin + i, g), m, k);
      if (v) store(v + begin + i, w, g);
      const Parts p = parts(w);
      high = add_at_least(high, w, bound, p.high);
      low = add_at_least(low, w, bound, p.low);
    });
    sums[begin / kSamplingBlock] = whole(high, low);
  }
}

void sampling_sums(const float* v, int64_t n, float least, int64_t* sums) {
  const F32 bound = set1(least);
  for (int64_t begin = 0; begin < n; begin += kSamplingBlock) {
    I32 high = set1_i32(0), low = high;
    for_lanes(min_of(kSamplingBlock, n - begin), [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 w = load(v + begin + i, g);
      const Parts p = parts(w);
      high = add_at_least(high, w, bound, p.high);
      low = add_at_least(low, w, bound, p.low);
    });
    sums[begin / kSamplingBlock] = whole(high, low);
  }
}

namespace {

template <int kPivots>
FATHOM_INLINE void pivot_sums(const float* v, int64_t n, bool count, const float* pivots, int64_t* sums) {
  F32 at[kPivots];
  for (int j = 0; j < kPivots; ++j) at[j] = set1(pivots[j]), sums[j] = 0;
  const I32 one = set1_i32(1);
  for (int64_t begin = 0; begin < n; begin += kSafe) {
    I32 high[kPivots], low[kPivots];
    for (int j = 0; j < kPivots; ++j) high[j] = low[j] = set1_i32(0);
    const int64_t size = min_of(kSafe, n - begin);
    if (count) {
      for_lanes(size, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
        const F32 w = load(v + begin + i, g);
        for (int j = 0; j < kPivots; ++j) low[j] = add_at_least(low[j], w, at[j], one);
      });
    } else {
      for_lanes(size, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
        const F32 w = load(v + begin + i, g);
        const Parts p = parts(w);
        for (int j = 0; j < kPivots; ++j) {
          high[j] = add_at_least(high[j], w, at[j], p.high);
          low[j] = add_at_least(low[j], w, at[j], p.low);
        }
      });
    }
    for (int j = 0; j < kPivots; ++j) sums[j] += whole(high[j], low[j]);
  }
}

}  // namespace

void sampling_pivots(const float* v, int64_t n, bool count, bool few, const float* pivots, int64_t* sums) {
  if (few)
    pivot_sums<kSamplingFewPivots>(v, n, count, pivots, sums);
  else
    pivot_sums<kSamplingPivots>(v, n, count, pivots, sums);
}

namespace {

#if FATHOM_RUNG_LEVEL == 1
// The set bits of each byte, in order, a byte each: what _mm256_permutevar8x32 packs eight lanes by.
struct SetBits {
  uint64_t of[256];
  constexpr SetBits() : of{} {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0, at = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte] |= static_cast<uint64_t>(bit) << 8 * at++;
  }
};
constexpr SetBits kSetBits;
#endif

// Lanes of w, the tokens from index on, whose bit is set, behind `count` others; returns the new count.
FATHOM_INLINE int64_t keep_lanes(F32 w, uint32_t bits, const int32_t* indices, int32_t index, float* to_v, int32_t* to_indices,
                                 int64_t count) {
#if FATHOM_RUNG_LEVEL >= 2
  const __m512i lanes = indices ? _mm512_loadu_si512(indices)
                                : _mm512_add_epi32(_mm512_set1_epi32(index),
                                                   _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const auto mask = static_cast<__mmask16>(bits);
  _mm512_storeu_ps(to_v + count, _mm512_maskz_compress_ps(mask, w.v));
  _mm512_storeu_si512(to_indices + count, _mm512_maskz_compress_epi32(mask, lanes));
  return count + __builtin_popcount(bits);
#elif FATHOM_RUNG_LEVEL == 1
  const __m256i steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int half = 0; half < 2; ++half, bits >>= 8) {
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kSetBits.of[bits & 255])));
    const __m256i lanes = indices ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indices + 8 * half))
                                  : _mm256_add_epi32(_mm256_set1_epi32(index + 8 * half), steps);
    _mm256_storeu_ps(to_v + count, _mm256_permutevar8x32_ps(half == 0 ? w.lo : w.hi, order));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_indices + count), _mm256_permutevar8x32_epi32(lanes, order));
    count += __builtin_popcount(bits & 255);
  }
  return count;
#else
  float v[kLanes];
  store(v, w);
  for (; bits != 0; bits &= bits - 1) {
    const int lane = __builtin_ctz(bits);
    to_v[count] = v[lane];
    to_indices[count++] = indices ? indices[lane] : index + lane;
  }
  return count;
#endif
}

}  // namespace

int64_t sampling_select(const float* v, const int32_t* indices, int32_t first, int64_t n, float low, float high, float* to_v,
                        int32_t* to_indices) {
  const F32 from = set1(low), to = set1(high);
  int64_t count = 0;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 w = load(v + i);
    const uint32_t bits = bits_at_least(w, from) & ~bits_at_least(w, to) & 0xffff;
    if (bits == 0) continue;
    count = keep_lanes(w, bits, indices ? indices + i : nullptr, first + static_cast<int32_t>(i), to_v, to_indices, count);
  }
  for (; i < n; ++i) {
    const float w = v[i];
    const int32_t index = indices ? indices[i] : first + static_cast<int32_t>(i);
    if (!(w >= low && w < high)) continue;
    to_v[count] = w;
    to_indices[count++] = index;
  }
  return count;
}

int64_t sampling_split(const float* x, int64_t n, float maximum, float inverse_temperature, float low, float high,
                       int64_t* whole_row, int64_t* sums, float* to_v, int32_t* to_indices) {
  const F32 m = set1(maximum), k = set1(inverse_temperature), from = set1(low), to = set1(high);
  int64_t count = 0, total = 0;
  for (int64_t begin = 0; begin < n; begin += kSamplingBlock) {
    I32 all_high = set1_i32(0), all_low = all_high, above_high = all_high, above_low = all_high;
    for_lanes(min_of(kSamplingBlock, n - begin), [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 w = weigh(load_or_none(x + begin + i, g), m, k);  // 0 in lanes that do not exist: below low
      const Parts p = parts(w);
      all_high = all_high + p.high;
      all_low = all_low + p.low;
      above_high = add_at_least(above_high, w, to, p.high);
      above_low = add_at_least(above_low, w, to, p.low);
      const uint32_t bits = bits_at_least(w, from) & ~bits_at_least(w, to) & 0xffff;
      if (bits != 0) count = keep_lanes(w, bits, nullptr, static_cast<int32_t>(begin + i), to_v, to_indices, count);
    });
    total += whole(all_high, all_low);
    sums[begin / kSamplingBlock] = whole(above_high, above_low);
  }
  *whole_row = total;
  return count;
}

int64_t sampling_first(const float* x, int64_t n, float least) {
  const F32 bound = set1(least);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    if (const uint32_t bits = bits_at_least(load(x + i), bound)) return i + __builtin_ctz(bits);
  while (i < n && !(x[i] >= least)) ++i;
  return i;
}

double sampling_log(double x) { return log(x); }

}  // namespace fathom::FATHOM_RUNG
