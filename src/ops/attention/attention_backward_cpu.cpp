// Backward (Dao et al. 2022, algorithm 4): probabilities come back from lse; with D = sum(dO O) a row,
//   dV += P^T dO,  dS = P (dO V^T - D) scale,  dK += dS^T Q,  dQ += dS K.
// Sums are f32; P and dS too, and bf16 stores are widened. With a bf16 store the avx512bf16 rung multiplies pairs instead
// (VDPBF16PS): P and dS are then rounded to bf16 first. Every sum runs over lanes or keys in rising order.
#include "backend/cpu/bf16_pairs.h"
#include "kernels/lanes.h"
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

// Rows x and y (null: zeros) of `width` elements as pairs, zeros up to a multiple of 16.
FATHOM_INLINE void pair_rows(const bf16* x, const bf16* y, int64_t width, uint32_t* to) {
  for (int64_t d = 0; d < width; d += 16) store_pairs(to + d, take_pairs(x + d, y ? y + d : nullptr, width - d));
}

template <class T, class U>
class Backward {
  using Word = typename U::Word;
  static constexpr bool kPairs = U::kPer == 2;

 public:
  Backward(const BackwardPiece& piece, float* scratch)
      : p_(piece),
        h_(piece.head),
        width_(h_.key_width + h_.shared_width),
        key_(backward_stride(width_)),
        value_(backward_stride(h_.value_width)),
        free_(scratch) {
    dk_ = take(kBackwardKeys * key_), dv_ = take(kBackwardKeys * value_);
    k_ = take<Word>(kBackwardKeys * key_row()), v_ = take<Word>(kBackwardKeys * value_row());
    q_ = take<Word>(kTileLanes / U::kPer * key_), g_ = take<Word>(kTileLanes / U::kPer * value_);
    qt_ = take<Word>(kTileLanes * key_), gt_ = take<Word>(kTileLanes * value_);
    dq_ = take(kTileLanes * key_);
    s_ = take(64 * kTileLanes), dp_ = take(64 * kTileLanes);
    lse_ = take(kTileLanes), delta_ = take(kTileLanes), rel_ = take(kTileLanes);
    if constexpr (kPairs) {
      k_pairs_ = take<Word>(kBackwardKeys / 2 * key_ + 16);
      p_rows_ = take<Word>(64 * kTileLanes / 2), ds_rows_ = take<Word>(64 * kTileLanes / 2);
      ds_pairs_ = take<Word>(32 * kTileLanes);
    }
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
  template <class W = float>
  W* take(int64_t n) {
    float* p = free_;
    free_ += round16(n);
    return reinterpret_cast<W*>(p);
  }
  // Words from row to row of k_ and v_: as wide as the gradients', or pairs along a row, key part and shared part apart.
  int64_t key_row() const { return kPairs ? key_words<U>(h_) : key_; }
  int64_t value_row() const { return kPairs ? words<U>(h_.value_width) : value_; }
  template <class E, class P>  // lane's row of a [queries][heads * width] tensor
  E* row(P* base, int64_t stride, int64_t lane, int64_t width) const {
    return static_cast<E*>(base) + lane / h_.group * stride + lane % h_.group * width;
  }

  void load_keys() {
    const int64_t n = p_.key_end - p_.key_begin;
    __builtin_memset(dk_, 0, static_cast<size_t>(kBackwardKeys * key_) * sizeof(float));
    __builtin_memset(dv_, 0, static_cast<size_t>(kBackwardKeys * value_) * sizeof(float));
    const int64_t whole = (n + 63) / 64 * 64;  // up to a whole block: zeros
    __builtin_memset(k_, 0, static_cast<size_t>(whole * key_row()) * sizeof(Word));
    __builtin_memset(v_, 0, static_cast<size_t>(whole * value_row()) * sizeof(Word));
    auto key_row_at = [&](int64_t j) { return static_cast<const T*>(p_.kv) + (p_.key_begin + j) * p_.kv_stride; };
    if constexpr (kPairs) {
      __builtin_memset(k_pairs_, 0, static_cast<size_t>(whole / 2 * key_) * sizeof(Word));
      for (int64_t j = 0; j < n; ++j) {
        const T* from = key_row_at(j);
        to_words(from + h_.key_offset, h_.key_width, k_ + j * key_row());
        to_words(from + h_.shared_offset, h_.shared_width, k_ + j * key_row() + words<U>(h_.key_width));
        to_words(from + h_.value_offset, h_.value_width, v_ + j * value_row());
      }
      for (int64_t j = 0; j < n; j += 2) {  // rising: what a row writes beyond its end is written over by the next
        const T *x = key_row_at(j), *y = j + 1 < n ? key_row_at(j + 1) : nullptr;
        pair_rows(x + h_.key_offset, y ? y + h_.key_offset : nullptr, h_.key_width, k_pairs_ + j / 2 * key_);
        pair_rows(x + h_.shared_offset, y ? y + h_.shared_offset : nullptr, h_.shared_width,
                  k_pairs_ + j / 2 * key_ + h_.key_width);
      }
    } else {
      for (int64_t j = 0; j < n; ++j) {
        const T* from = key_row_at(j);
        widen_row(from + h_.key_offset, h_.key_width, h_.key_width, k_ + j * key_);
        widen_row(from + h_.shared_offset, h_.shared_width, h_.shared_width, k_ + j * key_ + h_.key_width);
        widen_row(from + h_.value_offset, h_.value_width, padded_width(h_.value_width), v_ + j * value_);
      }
    }
  }

  void load_queries(int64_t begin, int64_t n) {
    const int64_t lanes = round16(n), width = h_.value_width;
    auto query = [&](int64_t i) { return row<const T>(p_.q, p_.q_stride, begin + i, width_); };
    auto gradient = [&](int64_t i) { return row<const T>(p_.dout, p_.dout_stride, begin + i, width); };
    pack_columns<T, U>(gradient, n, lanes, width, gt_);
    if constexpr (kPairs) {
      pack_columns<T, U>(query, n, lanes, h_.key_width, qt_);
      if (h_.shared_width > 0)
        pack_columns<T, U>([&](int64_t i) { return query(i) + h_.key_width; }, n, lanes, h_.shared_width,
                           qt_ + words<U>(h_.key_width) * lanes);
      for (int64_t i = 0; i < n; i += 2) {
        pair_rows(query(i), i + 1 < n ? query(i + 1) : nullptr, width_, q_ + i / 2 * key_);
        pair_rows(gradient(i), i + 1 < n ? gradient(i + 1) : nullptr, width, g_ + i / 2 * value_);
      }
    } else {
      pack_columns<T, U>(query, n, lanes, width_, qt_);
      for (int64_t i = 0; i < n; ++i) {
        widen_row(query(i), width_, padded_width(width_), q_ + i * key_);
        widen_row(gradient(i), width, padded_width(width), g_ + i * value_);
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      const T *out = row<const T>(p_.out, p_.out_stride, begin + i, width), *g = gradient(i);
      F32 sum = zero();
      for (int64_t d = 0; d < width; d += 16) {
        const int count = static_cast<int>(at_most(16, width - d));
        sum = fma(load_n(g + d, count), load_n(out + d, count), sum);
      }
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
    const int64_t key_depth = kPairs ? key_row() : width_, value_depth = kPairs ? value_row() : h_.value_width;
    const Word *k = k_ + at * key_row(), *v = v_ + at * value_row();
    gemm<U, Start::kZero, false>(
        Gemm<Word>{keys, lanes / 16, key_depth, key_row(), 1, qt_, lanes, s_, lanes, nullptr, h_.scale}, k);
    gemm<U, Start::kZero, false>(Gemm<Word>{keys, lanes / 16, value_depth, value_row(), 1, gt_, lanes, dp_, lanes, nullptr, 1},
                                 v);
    for (int64_t i = 0; i < lanes; ++i) rel_[i] = static_cast<float>(at_most((begin + i) / h_.group - key, 64));
    for (int64_t i = 0; i < lanes; i += 16) {
      if (first < keys - 1)
        gradients<true>(i, lanes, keys);
      else
        gradients<false>(i, lanes, keys);
    }
    const int64_t hidden = key * h_.group - begin, from = hidden > 0 ? hidden : 0;  // lanes before this block
    // Of pairs: two lanes a word (a block begins at an even lane), and for dq two keys a word.
    const int64_t first_word = from / U::kPer, depth = (n - from + U::kPer - 1) / U::kPer, row = lanes / U::kPer;
    const Word *p = s_words(p_rows_, s_), *ds = s_words(ds_rows_, dp_);
    gemm<U, Start::kLoad, false>(Gemm<Word>{keys, padded_width(h_.value_width) / 16, depth, row, 1, g_ + first_word * value_,
                                            value_, dv_ + at * value_, value_, nullptr, 1},
                                 p + first_word);
    gemm<U, Start::kLoad, false>(Gemm<Word>{keys, padded_width(width_) / 16, depth, row, 1, q_ + first_word * key_, key_,
                                            dk_ + at * key_, key_, nullptr, 1},
                                 ds + first_word);
    gemm<U, Start::kLoad, true>(Gemm<Word>{n - from, padded_width(width_) / 16, keys / U::kPer, 1, lanes,
                                           kPairs ? k_pairs_ + at / 2 * key_ : k, key_, dq_ + from * key_, key_, nullptr, 1},
                                s_words(ds_pairs_, dp_) + from);
  }
  // Where P or dS stand as words: rounded, or as floats in place.
  static const Word* s_words(const Word* rounded, const float* floats) {
    if constexpr (kPairs)
      return rounded;
    else
      return floats;
  }

  // s becomes P, dp becomes dS, for one vector of lanes: in place, or rounded beside.
  template <bool kMasked>
  FATHOM_INLINE void gradients(int64_t i, int64_t lanes, int64_t keys) {
    const F32 lse = load(lse_ + i), delta = load(delta_ + i), rel = load(rel_ + i), scale = set1(h_.scale);
    const auto both = [&](int64_t j, F32& p, F32& ds) FATHOM_LANES_INLINE {
      F32 x = load(s_ + j * lanes + i);
      if constexpr (kMasked) x = select_less(rel, set1(static_cast<float>(j)), set1(kMinusInfinity), x);
      p = exp(x - lse);
      ds = p * (load(dp_ + j * lanes + i) - delta) * scale;
    };
    if constexpr (kPairs) {
      for (int64_t j = 0; j < keys; j += 2) {  // keys is a multiple of 8
        F32 p0, p1, ds0, ds1;
        both(j, p0, ds0);
        both(j + 1, p1, ds1);
        round_rows(p0, p1, p_rows_ + (j * lanes + i) / 2, p_rows_ + ((j + 1) * lanes + i) / 2);
        round_rows(ds0, ds1, ds_rows_ + (j * lanes + i) / 2, ds_rows_ + ((j + 1) * lanes + i) / 2);
        store_pairs(ds_pairs_ + j / 2 * lanes + i, round_pairs(ds0, ds1));
      }
    } else {
      for (int64_t j = 0; j < keys; ++j) {
        F32 p, ds;
        both(j, p, ds);
        store(s_ + j * lanes + i, p);
        store(dp_ + j * lanes + i, ds);
      }
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
  float *dk_, *dv_, *dq_, *s_, *dp_, *lse_, *delta_, *rel_;
  Word *k_, *v_, *q_, *qt_, *g_, *gt_;
  Word *k_pairs_ = nullptr, *p_rows_ = nullptr, *ds_rows_ = nullptr, *ds_pairs_ = nullptr;  // of pairs only
};

}  // namespace

#if FATHOM_RUNG_LEVEL >= 3
void backward_piece_bf16(const BackwardPiece& piece, float* scratch) { Backward<bf16, PairWord>(piece, scratch).run(); }
#else
void backward_piece_f32(const BackwardPiece& piece, float* scratch) { Backward<float, FloatWord>(piece, scratch).run(); }
void backward_piece_bf16(const BackwardPiece& piece, float* scratch) { Backward<bf16, FloatWord>(piece, scratch).run(); }
#endif
#if FATHOM_RUNG_LEVEL == 0
void backward_piece_dot(const BackwardPiece& piece, float* scratch) { Backward<bf16, PairWord>(piece, scratch).run(); }
#endif

}  // namespace fathom::FATHOM_RUNG
