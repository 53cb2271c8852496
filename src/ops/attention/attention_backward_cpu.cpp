// Backward (Dao et al. 2022, algorithm 4): probabilities come back from lse; with D = sum(dO O) a row,
//   dV += P^T dO,  dS = P (dO V^T - D) scale,  dK += dS^T Q,  dQ += dS K.
// All in f32 on every rung, P and dS too: bf16 stores are widened. Every sum runs over lanes or keys in rising order.
#include "ops/attention/attention_pack.h"

namespace fathom::FATHOM_RUNG {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

FATHOM_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
FATHOM_INLINE int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

FATHOM_INLINE void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <class T>
FATHOM_INLINE void narrow_row(const float* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; i += 16) {
    if (n - i >= 16)
      store(to + i, load(from + i));
    else
      store_n(to + i, load_n(from + i, static_cast<int>(n - i)), static_cast<int>(n - i));
  }
}

template <class T>
class Backward {
 public:
  Backward(const BackwardPiece& piece, float* scratch)
      : p_(piece),
        h_(piece.head),
        width_(h_.key_width + h_.shared_width),
        key_(backward_stride(width_)),
        value_(backward_stride(h_.value_width)),
        free_(scratch) {
    k_ = take(kBackwardKeys * key_), v_ = take(kBackwardKeys * value_);
    dk_ = take(kBackwardKeys * key_), dv_ = take(kBackwardKeys * value_);
    q_ = take(kTileLanes * key_), qt_ = take(kTileLanes * key_), dq_ = take(kTileLanes * key_);
    g_ = take(kTileLanes * value_), gt_ = take(kTileLanes * value_);
    s_ = take(64 * kTileLanes), dp_ = take(64 * kTileLanes);
    lse_ = take(kTileLanes), delta_ = take(kTileLanes), rel_ = take(kTileLanes);
  }

  void run() {
    load_keys();
    const int64_t lanes = p_.num_queries * h_.group;
    int64_t tile = p_.key_begin * h_.group / kTileLanes;
    for (; tile * kTileLanes < lanes; ++tile) {
      const int64_t begin = tile * kTileLanes, n = at_most(kTileLanes, lanes - begin);
      load_queries(begin, n);
      if (p_.earlier)
        while (__atomic_load_n(p_.earlier, __ATOMIC_ACQUIRE) <= tile) pause();
      const bool first = p_.key_begin == 0, last = (begin + n - 1) / h_.group < p_.key_end;
      float* sum = p_.dq_sum + begin * key_;
      if (first)
        __builtin_memset(dq_, 0, static_cast<size_t>(n * key_) * sizeof(float));
      else
        __builtin_memcpy(dq_, sum, static_cast<size_t>(n * key_) * sizeof(float));
      for (int64_t key = p_.key_begin; key < p_.key_end && key <= (begin + n - 1) / h_.group; key += 64) step(key, begin, n);
      if (last) {
        for (int64_t i = 0; i < n; ++i) narrow_row(dq_ + i * key_, width_, row<T>(p_.dq, p_.dq_stride, begin + i, width_));
      } else {
        __builtin_memcpy(sum, dq_, static_cast<size_t>(n * key_) * sizeof(float));
      }
      __atomic_store_n(p_.done, static_cast<int>(tile + 1), __ATOMIC_RELEASE);
    }
    store_keys();
  }

 private:
  float* take(int64_t n) {
    float* p = free_;
    free_ += round16(n);
    return p;
  }
  template <class E, class P>  // lane's row of a [queries][heads * width] tensor
  E* row(P* base, int64_t stride, int64_t lane, int64_t width) const {
    return static_cast<E*>(base) + lane / h_.group * stride + lane % h_.group * width;
  }

  void load_keys() {
    const int64_t n = p_.key_end - p_.key_begin;
    __builtin_memset(k_, 0, static_cast<size_t>(round16(n * key_)) * sizeof(float));
    __builtin_memset(dk_, 0, static_cast<size_t>(kBackwardKeys * key_) * sizeof(float));
    __builtin_memset(dv_, 0, static_cast<size_t>(kBackwardKeys * value_) * sizeof(float));
    for (int64_t j = 0; j < n; ++j) {
      const T* from = static_cast<const T*>(p_.kv) + (p_.key_begin + j) * p_.kv_stride;
      widen_row(from + h_.key_offset, h_.key_width, h_.key_width, k_ + j * key_);
      widen_row(from + h_.shared_offset, h_.shared_width, h_.shared_width, k_ + j * key_ + h_.key_width);
      widen_row(from + h_.value_offset, h_.value_width, padded_width(h_.value_width), v_ + j * value_);
    }
    for (int64_t j = n; j < (n + 63) / 64 * 64; ++j) {  // up to a whole block: zeros
      __builtin_memset(k_ + j * key_, 0, static_cast<size_t>(key_) * sizeof(float));
      __builtin_memset(v_ + j * value_, 0, static_cast<size_t>(value_) * sizeof(float));
    }
  }

  void load_queries(int64_t begin, int64_t n) {
    const int64_t lanes = round16(n), padded = padded_width(width_), value = padded_width(h_.value_width);
    auto query = [&](int64_t i) { return row<const T>(p_.q, p_.q_stride, begin + i, width_); };
    auto gradient = [&](int64_t i) { return row<const T>(p_.dout, p_.dout_stride, begin + i, h_.value_width); };
    pack_columns<T, FloatWord>(query, n, lanes, width_, qt_);
    pack_columns<T, FloatWord>(gradient, n, lanes, h_.value_width, gt_);
    for (int64_t i = 0; i < n; ++i) {
      widen_row(query(i), width_, padded, q_ + i * key_);
      widen_row(gradient(i), h_.value_width, value, g_ + i * value_);
      const T* out = row<const T>(p_.out, p_.out_stride, begin + i, h_.value_width);
      F32 sum = zero();
      for (int64_t d = 0; d < h_.value_width; d += 16)
        sum = fma(load(g_ + i * value_ + d), load_n(out + d, static_cast<int>(at_most(16, h_.value_width - d))), sum);
      delta_[i] = reduce_add(sum);
      lse_[i] = p_.lse[(begin + i) / h_.group * p_.lse_stride + (begin + i) % h_.group];
    }
    for (int64_t i = n; i < lanes; ++i) delta_[i] = lse_[i] = 0;
  }

  // The block of keys from position `key` on with the lanes [begin, begin + n).
  void step(int64_t key, int64_t begin, int64_t n) {
    const int64_t lanes = round16(n), at = key - p_.key_begin;
    const int64_t last = (begin + n - 1) / h_.group - key, first = begin / h_.group - key;
    const int64_t keys = (at_most(last, 63) / 8 + 1) * 8;
    const float *k = k_ + at * key_, *v = v_ + at * value_;
    gemm<FloatWord, Start::kZero, false>(
        Gemm<float>{keys, lanes / 16, width_, key_, 1, qt_, lanes, s_, lanes, nullptr, h_.scale}, k);
    gemm<FloatWord, Start::kZero, false>(
        Gemm<float>{keys, lanes / 16, h_.value_width, value_, 1, gt_, lanes, dp_, lanes, nullptr, 1}, v);
    for (int64_t i = 0; i < lanes; ++i) rel_[i] = static_cast<float>(at_most((begin + i) / h_.group - key, 64));
    for (int64_t i = 0; i < lanes; i += 16) {
      if (first < keys - 1)
        gradients<true>(i, lanes, keys);
      else
        gradients<false>(i, lanes, keys);
    }
    const int64_t hidden = key * h_.group - begin, from = hidden > 0 ? hidden : 0;  // lanes before this block
    gemm<FloatWord, Start::kLoad, false>(Gemm<float>{keys, padded_width(h_.value_width) / 16, n - from, lanes, 1,
                                                     g_ + from * value_, value_, dv_ + at * value_, value_, nullptr, 1},
                                         s_ + from);
    gemm<FloatWord, Start::kLoad, false>(Gemm<float>{keys, padded_width(width_) / 16, n - from, lanes, 1, q_ + from * key_,
                                                     key_, dk_ + at * key_, key_, nullptr, 1},
                                         dp_ + from);
    gemm<FloatWord, Start::kLoad, true>(
        Gemm<float>{n - from, padded_width(width_) / 16, keys, 1, lanes, k, key_, dq_ + from * key_, key_, nullptr, 1},
        dp_ + from);
  }

  // s becomes P, dp becomes dS, for one vector of lanes.
  template <bool kMasked>
  FATHOM_INLINE void gradients(int64_t i, int64_t lanes, int64_t keys) {
    const F32 lse = load(lse_ + i), delta = load(delta_ + i), rel = load(rel_ + i), scale = set1(h_.scale);
    for (int64_t j = 0; j < keys; ++j) {
      F32 x = load(s_ + j * lanes + i);
      if constexpr (kMasked) x = select_less(rel, set1(static_cast<float>(j)), set1(kMinusInfinity), x);
      const F32 p = exp(x - lse);
      store(s_ + j * lanes + i, p);
      store(dp_ + j * lanes + i, p * (load(dp_ + j * lanes + i) - delta) * scale);
    }
  }

  void store_keys() {
    // Where values lie inside keys (absorbed MLA) both gradients meet in one column.
    const int64_t lo = h_.key_offset > h_.value_offset ? h_.key_offset : h_.value_offset;
    const int64_t hi = at_most(h_.key_offset + h_.key_width, h_.value_offset + h_.value_width);
    for (int64_t j = 0; j < p_.key_end - p_.key_begin; ++j) {
      float *dk = dk_ + j * key_, *dv = dv_ + j * value_;
      for (int64_t c = lo; c < hi; ++c) dv[c - h_.value_offset] = dk[c - h_.key_offset] += dv[c - h_.value_offset];
      T* to = static_cast<T*>(p_.dkv) + (p_.key_begin + j) * p_.dkv_stride;
      narrow_row(dk, h_.key_width, to + h_.key_offset);
      narrow_row(dv, h_.value_width, to + h_.value_offset);
      if (p_.dshared)
        narrow_row(dk + h_.key_width, h_.shared_width, p_.dshared + (p_.key_begin + j) * h_.shared_width);
      else
        narrow_row(dk + h_.key_width, h_.shared_width, to + h_.shared_offset);
    }
  }

  const BackwardPiece& p_;
  const AttentionHead& h_;
  const int64_t width_, key_, value_;  // query width; floats from row to row of keys and of values
  float* free_;
  float *k_, *v_, *dk_, *dv_, *q_, *qt_, *dq_, *g_, *gt_, *s_, *dp_, *lse_, *delta_, *rel_;
};

}  // namespace

void backward_piece_f32(const BackwardPiece& piece, float* scratch) { Backward<float>(piece, scratch).run(); }
void backward_piece_bf16(const BackwardPiece& piece, float* scratch) { Backward<bf16>(piece, scratch).run(); }

}  // namespace fathom::FATHOM_RUNG
