#include "kernels/log_sum_exp.h"

#include "kernels/lanes.h"
#include "kernels/vector_math.h"

namespace fathom::FATHOM_RUNG {
namespace {

const float kNone = -__builtin_inff();

FATHOM_INLINE float chunk_max(const float* x, int64_t n) {
  F32 a = set1(kNone), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    a = max(load(x + i), a);
    b = max(load(x + i + 16), b);
    c = max(load(x + i + 32), c);
    d = max(load(x + i + 48), d);
  }
  for_lanes(n - i, [&](int64_t j, auto g) FATHOM_LANES_INLINE { a = max(load_or_none(x + i + j, g), a); });
  return reduce_max(max(max(a, b), max(c, d)));
}

FATHOM_INLINE float chunk_sum(const float* x, int64_t n, float maximum) {
  const F32 m = set1(maximum);
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE { return acc + exp(load_or_none(x + i, g) - m); });
}
// sum of exp(d) d with d = x - maximum; an x of -infinity adds 0.
FATHOM_INLINE float chunk_moment(const float* x, int64_t n, float maximum) {
  const F32 m = set1(maximum);
  return sum_lanes(n, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
    const F32 d = load_or_none(x + i, g) - m;
    return fma(exp(d), max(set1(-88.f), d), acc);
  });
}

FATHOM_INLINE double scalar_exp(float x) {
  float t[16];
  store(t, exp(set1(x)));
  return t[0];
}

}  // namespace

float row_max(const float* x, int64_t n) { return chunk_max(x, n); }

float row_log_sum_exp(const float* x, int64_t n, float* of_row) {
  float maximum = kNone;
  double sum = 0;  // of exp(x - maximum) over the chunks so far
  for (int64_t begin = 0; begin < n; begin += kVocabularyChunk) {
    const int64_t size = n - begin < kVocabularyChunk ? n - begin : kVocabularyChunk;
    const float m = chunk_max(x + begin, size);
    if (m == kNone) {  // nothing but -infinity, or NaN
      for (int64_t i = 0; i < size; ++i)
        if (x[begin + i] != x[begin + i]) return __builtin_nanf("");
      continue;
    }
    const double s = chunk_sum(x + begin, size, m);
    if (m > maximum) {
      sum = maximum == kNone ? s : sum * scalar_exp(maximum - m) + s;
      maximum = m;
    } else {
      sum = sum + s * scalar_exp(m - maximum);
    }
  }
  if (of_row) *of_row = maximum;
  return static_cast<float>(maximum + log(sum));
}

// H = log S - M / S with S = sum exp(d), M = sum exp(d) d, d = x - maximum of the row. A chunk's d is relative to its own
// maximum m: exp(d) d = exp(m - maximum) exp(d') (d' + m - maximum).
float row_entropy(const float* x, int64_t n) {
  const float maximum = chunk_max(x, n);
  double sum = 0, moment = 0;
  for (int64_t begin = 0; begin < n; begin += kVocabularyChunk) {
    const int64_t size = n - begin < kVocabularyChunk ? n - begin : kVocabularyChunk;
    const float m = chunk_max(x + begin, size);
    if (m == kNone) continue;
    const double scale = scalar_exp(m - maximum), s = chunk_sum(x + begin, size, m), t = chunk_moment(x + begin, size, m);
    sum += scale * s;
    moment += scale * (t + (static_cast<double>(m) - maximum) * s);
  }
  return static_cast<float>(log(sum) - moment / sum);
}

// A term is p (e^d - 1 - d): by its series where d is small, as q - p - p d elsewhere. Where p is 0 it is q.
float row_kl_divergence(const float* p, float lse_p, const float* q, float lse_q, int64_t n) {
  const F32 lp = set1(lse_p), lq = set1(lse_q), small = set1(0.25f);
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kVocabularyChunk) {
    const int64_t size = n - begin < kVocabularyChunk ? n - begin : kVocabularyChunk;
    sum += sum_lanes(size, [&](int64_t i, auto g, F32 acc) FATHOM_LANES_INLINE {
      const F32 log_p = max(set1(-88.f), load_or_none(p + begin + i, g) - lp), log_q = load_or_none(q + begin + i, g) - lq;
      const F32 a = exp(log_p), b = exp(log_q), d = log_q - log_p;
      F32 series = set1(1.f / 5040.f);
      series = fma(series, d, set1(1.f / 720.f));
      series = fma(series, d, set1(1.f / 120.f));
      series = fma(series, d, set1(1.f / 24.f));
      series = fma(series, d, set1(1.f / 6.f));
      series = fma(series, d, set1(0.5f));
      const F32 far = fnma(a, d, b - a), term = select_less(d * d, small * small, a * (series * d * d), far);
      return acc + select_less(zero(), a, term, b);
    });
  }
  return static_cast<float>(sum);
}

}  // namespace fathom::FATHOM_RUNG
