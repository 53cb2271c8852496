// Decode with few lanes (at most 8: one query of a head or a small group). A product over lanes would use one lane in
// sixteen, so here keys lie along the vector: 16 keys are transposed in registers on the way in. Each score is still the
// one chain over the width, so the bits are those of the wide form. AVX-512 rungs with float words. For *_cpu.cpp files.
#pragma once
#include "ops/attention/attention_pack.h"

#if FATHOM_RUNG_LEVEL >= 2
namespace fathom::FATHOM_RUNG {

constexpr int64_t kFewLanes = 8;

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
  for (int64_t j = 0; j <= last; j += 32) {
    F32 sum[2][N];
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < N; ++i) sum[g][i] = zero();
    const T* rows = block + j * h.row_width;
    if (j + 16 <= last) {
      few_segment<N, 2>(rows + h.key_offset, h.row_width, last - j, h.key_width, q, q_stride, sum, prefetch);
      if (h.shared_width > 0)
        few_segment<N, 2>(rows + h.shared_offset, h.row_width, last - j, h.shared_width, q + q_shared, q_stride, sum, prefetch);
    } else {
      few_segment<N, 1>(rows + h.key_offset, h.row_width, last - j, h.key_width, q, q_stride, sum, prefetch);
      if (h.shared_width > 0)
        few_segment<N, 1>(rows + h.shared_offset, h.row_width, last - j, h.shared_width, q + q_shared, q_stride, sum, prefetch);
    }
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < N; ++i) store(s + i * 64 + j + 16 * g, sum[g][i] * scale);
  }
}

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
  *m = _mm512_cvtss_f32(m_new.v);
  *alpha = _mm512_cvtss_f32(a.v);
  *l = _mm512_cvtss_f32(fma(set1(*l), a, set1(reduce_add(sum))).v);
}

}  // namespace fathom::FATHOM_RUNG
#endif
