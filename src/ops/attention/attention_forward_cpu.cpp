// Forward: S^T = K Q^T, softmax down the keys, O += P V, block by block (Dao et al. 2022, "FlashAttention"), lanes beside
// each other. Rounding points: scores, sums and outputs are f32 until the output is rounded once; with a bf16 store P is
// rounded to bf16 before P V on every rung (the pair products of VDPBF16PS need it), the softmax total is not.
#include "ops/attention/attention_few.h"
#include "ops/attention/attention_pack.h"
#include "ops/attention/kv_record_open.h"

namespace fathom::FATHOM_RUNG {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

FATHOM_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
FATHOM_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

// Sums O [lanes][stride], running maxima and totals of up to 192 lanes.
struct State {
  float *o, *m, *l;
};

// Memory of the next block, fetched into L2 little by little while this one is computed.
struct Prefetch {
  const char* row = nullptr;  // null: nothing to fetch
  int64_t rows = 0, row_bytes = 0, begin[3] = {}, end[3] = {};
  int64_t j = 0, segment = 0, at = 0;
  void aim(const void* block, int64_t valid, const AttentionHead& h, int64_t element_bytes) {
    row = static_cast<const char*>(block);
    rows = valid;
    j = segment = 0;
    if (const RecordHead& r = h.record; r.type != KvType::kPlain) {
      row_bytes = r.bytes;
      const int64_t from[3] = {r.key_codes, r.value_codes, r.key_scales},
                    to[3] = {r.key_codes + h.key_width, r.value_codes + (r.value_in_key ? 0 : h.value_width), r.bytes};
      for (int s = 0; s < 3; ++s) begin[s] = from[s], end[s] = to[s];
      at = begin[0];
      return;
    }
    row_bytes = h.row_width * element_bytes;
    const int64_t offset[3] = {h.key_offset, h.shared_offset, h.value_offset},
                  width[3] = {h.key_width, h.shared_width, h.value_width};
    const bool inside = h.value_offset >= h.key_offset && h.value_offset + h.value_width <= h.key_offset + h.key_width;
    for (int s = 0; s < 3; ++s) {
      begin[s] = offset[s] * element_bytes;
      end[s] = s == 2 && inside ? begin[s] : begin[s] + width[s] * element_bytes;
    }
    at = begin[0];
  }
  // A `share`-th of the lines.
  int64_t lines(int64_t share) const {
    int64_t row_lines = 0;
    for (int s = 0; s < 3; ++s) row_lines += end[s] > begin[s] ? (end[s] - begin[s]) / 64 + 1 : 0;
    return (rows * row_lines + share - 1) / share;
  }
  // The first row's i-th line; nowhere behind its last.
  const char* line(int64_t i, const void* nowhere) const {
    for (int s = 0; row && s < 3; ++s) {
      const int64_t count = (end[s] - begin[s] + 63) / 64;
      if (i < count) return row + begin[s] + 64 * i;
      i -= count;
    }
    return static_cast<const char*>(nowhere);
  }
  // Somebody else fetches the first lines of each row.
  void leave(int64_t lines) {
    for (int s = 0; s < 3; ++s)
      for (; begin[s] < end[s] && lines > 0; --lines) begin[s] = at_most(begin[s] + 64, end[s]);
    at = begin[0];
  }
  // The block where its rows are one run of memory, which the caller then fetches; null where they are not.
  const char* take_run() {
    const bool run = row && end[0] == begin[1] && end[1] - begin[0] == row_bytes && end[2] == begin[2];
    const char* const from = run ? row + begin[0] : nullptr;
    if (run) row = nullptr;
    return from;
  }
  void step(int64_t lines) {
    while (row && lines > 0) {
      if (at < end[segment]) {
        __builtin_prefetch(row + at, 0, 2);
        at += 64;
        --lines;
      } else if (++segment < 3) {
        at = begin[segment];
      } else if (++j < rows) {
        row += row_bytes;
        segment = 0;
        at = begin[0];
      } else {
        row = nullptr;
      }
    }
  }
};

// Partial sums by key mod 16, added by the tree of reduce_add: the form that a horizontal softmax has too.
FATHOM_INLINE F32 tree(F32* s) {
#pragma GCC unroll 4
  for (int width = 8; width > 0; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) s[i] = s[i] + s[i + width];
  return s[0];
}

// One vector of lanes: s [keys][lanes] becomes exp(s - m) in the store's type; m, l are brought up, alpha = exp(m_old - m).
template <class T, bool kMasked>
FATHOM_INLINE void softmax(float* s, int64_t lanes, int64_t keys, const float* rel, float* m, float* l, float* alpha) {
  const F32 m_old = load(m);
  F32 top = m_old;
  for (int64_t j = 0; j < keys; ++j) {
    F32 x = load(s + j * lanes);
    if constexpr (kMasked) {
      x = select_less(load(rel), set1(static_cast<float>(j)), set1(kMinusInfinity), x);
      store(s + j * lanes, x);
    }
    top = max(x, top);
  }
  F32 sum[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum[i] = zero();
  for (int64_t j = 0; j < keys; j += 8) {  // keys is a multiple of 8
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const F32 p = exp(load(s + (j + i) * lanes) - top);
      F32& part = j % 16 ? sum[8 + i] : sum[i];
      part = part + p;
      store(s + (j + i) * lanes, round_to_store(p, static_cast<const T*>(nullptr)));
    }
  }
  const F32 a = exp(m_old - top);
  store(alpha, a);
  store(m, top);
  store(l, fma(load(l), a, tree(sum)));
}

template <class U>
FATHOM_INLINE const typename U::Word* probability_words(float* s, int64_t, int64_t) {
  return s;
}
// Pairs of keys: [keys/2][lanes], in place. The values are bf16 already.
template <>
FATHOM_INLINE const uint32_t* probability_words<PairWord>(float* s, int64_t lanes, int64_t keys) {
  for (int64_t j = 0; j < keys; j += 2)
    for (int64_t i = 0; i < lanes; i += 16)
      store_pairs(s + j / 2 * lanes + i, make_pairs(load(s + j * lanes + i), load(s + (j + 1) * lanes + i)));
  return reinterpret_cast<const uint32_t*>(s);
}

template <class T, class U>
class Forward {
  using Word = typename U::Word;

 public:
  Forward(const ForwardTile& tile, float* scratch)
      : t_(tile),
        stored_(tile.head),
        quantised_(stored_.record.type != KvType::kPlain),
        h_(quantised_ ? opened_head(stored_) : stored_),
        key_(key_words<U>(h_)),
        value_(padded_width(h_.value_width)),
        free_(scratch) {
    const int64_t value_offset = h_.value_offset - h_.key_offset;
    // Floats of a value that lies inside its key (absorbed MLA) are widened once.
    shared_value_ =
        U::kPer == 1 && value_offset >= 0 && value_offset + h_.value_width <= h_.key_width && h_.value_width % 16 == 0;
    value_stride_ = shared_value_ ? key_ : value_ + 16;  // + 16: rows must not all fall into the same few cache sets
    k_ = take<Word>(64 * round16(key_));
    v_ = shared_value_ ? k_ + value_offset : take<Word>(64 * value_stride_);
    q_ = take<Word>(kForwardTiles * kTileLanes * key_);
    s_ = take<float>(64 * kTileLanes);
    if (quantised_) opened_ = take<T>(64 * h_.row_width * static_cast<int64_t>(sizeof(T)) / 4 + 16);
    alpha_ = take<float>(kTileLanes);
    rel_ = take<float>(kTileLanes);
#if FATHOM_RUNG_LEVEL >= 1
    few_ = t_.num_lanes <= kFewLanes && h_.value_width % (16 * U::kPer) == 0;
#endif
#if FATHOM_RUNG_LEVEL >= 3
    thin_ = U::kPer == 2 && !few_ && t_.num_lanes <= 16 && h_.value_width % 32 == 0;
#endif
    if (few_)
      few_queries();
    else
      pack_queries();
  }

  State take_state() {
    return {take<float>(kForwardTiles * kTileLanes * value_), take<float>(kForwardTiles * kTileLanes),
            take<float>(kForwardTiles * kTileLanes)};
  }

  // One super-block from fresh.
  void run(int64_t super, const State& state) {
    const int64_t last = position(t_.num_lanes - 1), begin = super * kSuperBlocks;
    const int64_t end = at_most(begin + kSuperBlocks, last / 64 + 1);
    for (int64_t i = 0; i < round16(t_.num_lanes); ++i) state.m[i] = kMinusInfinity, state.l[i] = 0;
#if FATHOM_RUNG_LEVEL >= 1
    if (few_) return run_few(begin, end, last, state);
#endif
    for (int64_t b = begin; b < end; ++b) {
      const int64_t valid = at_most(64, last + 1 - b * 64);
      const T* block = rows(b, valid);
      find_keys(block, valid);
      if (!shared_value_ && !thin_) pack_values(h_, block, valid, value_stride_, v_);
      Prefetch next;
      if (b + 1 <= last / 64) next.aim(t_.blocks[b + 1], at_most(64, last + 1 - (b + 1) * 64), stored_, sizeof(T));
      for (int64_t lane = 0; lane < t_.num_lanes; lane += kTileLanes) step(b, block, b == begin, lane, state, next);
    }
  }

  // State `part` of super-block `super` joins `sum`, which holds the earlier ones.
  static void merge(const ForwardTile& t, int64_t super, const State& sum, const State& part) {
    const int64_t stride = padded_width(t.head.value_width);
    const int64_t first = first_visible(t, super * kSuperBlocks * 64, 0);
    for (int64_t i = first; i < t.num_lanes; ++i) {
      float keep[16], add[16];
      const F32 ms = set1(sum.m[i]), mp = set1(part.m[i]), m = max(ms, mp);
      const F32 fs = exp(ms - m), fp = exp(mp - m);
      store(keep, m);
      sum.m[i] = keep[0];
      store(add, fma(set1(part.l[i]), fp, set1(sum.l[i]) * fs));
      sum.l[i] = add[0];
      for (int64_t d = 0; d < stride; d += 16)
        store(sum.o + i * stride + d, fma(load(part.o + i * stride + d), fp, load(sum.o + i * stride + d) * fs));
    }
  }

  static void finish(const ForwardTile& t, const State& s) {
    const int64_t stride = padded_width(t.head.value_width), width = t.head.value_width;
    for (int64_t i = 0; i < t.num_lanes; ++i) {
      const int64_t lane = t.first_lane + i, query = lane / t.head.group, head = lane % t.head.group;
      T* out = static_cast<T*>(t.out) + query * t.out_stride + head * width;
      const F32 inverse = set1(1.f / s.l[i]);
      for (int64_t d = 0; d < width; d += 16)  // + 0: no output is -0, so lanes that skip blocks agree in that too
        store_n(out + d, fma(load(s.o + i * stride + d), inverse, zero()), static_cast<int>(at_most(16, width - d)));
      if (t.lse) t.lse[query * t.lse_stride + head] = static_cast<float>(s.m[i] + __builtin_log(static_cast<double>(s.l[i])));
    }
  }

 private:
  static int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }
  template <class W>
  W* take(int64_t n) {
    float* p = free_;
    free_ += round16(n);
    return reinterpret_cast<W*>(p);
  }
  int64_t position(int64_t lane) const {
    return t_.joined ? t_.first_position : t_.first_position + (t_.first_lane + lane) / h_.group;
  }
  // The first lane of the tile that stands at `key` or later.
  static int64_t first_visible(const ForwardTile& t, int64_t key, int64_t from) {
    const int64_t lane = (key - t.first_position) * t.head.group - t.first_lane;
    return at_least(lane, from);
  }

  // Block b's rows in the compute type: the store's own, or opened.
  const T* rows(int64_t b, int64_t valid) {
    if (!quantised_) return static_cast<const T*>(t_.blocks[b]);
    open_block(stored_, h_, static_cast<const std::byte*>(t_.blocks[b]), valid, opened_);
    return opened_;
  }
  const T* query(int64_t i) const {
    const int64_t lane = t_.first_lane + i;
    if (t_.joined)
      return static_cast<const T*>(t_.joined[lane / h_.group].q) + lane % h_.group * (h_.key_width + h_.shared_width);
    return static_cast<const T*>(t_.q) + lane / h_.group * t_.q_stride + lane % h_.group * (h_.key_width + h_.shared_width);
  }
  void pack_queries() {
    for (int64_t begin = 0; begin < t_.num_lanes; begin += kTileLanes) {
      const int64_t n = at_most(kTileLanes, t_.num_lanes - begin), lanes = round16(n);
      auto row = [&](int64_t i) { return query(begin + i); };
      Word* to = q_ + begin * key_;
      pack_columns<T, U>(row, n, lanes, h_.key_width, to);
      if (h_.shared_width > 0)
        pack_columns<T, U>([&](int64_t i) { return row(i) + h_.key_width; }, n, lanes, h_.shared_width,
                           to + words<U>(h_.key_width) * lanes);
    }
  }

  // Few lanes: q_ [8][key part | shared part], each part padded to a line.
  int64_t few_shared() const { return (h_.key_width + 31) / 32 * 32 / U::kPer; }
  int64_t few_stride() const { return few_shared() + (h_.shared_width + 31) / 32 * 32 / U::kPer; }
  void few_queries() {
    __builtin_memset(q_, 0, static_cast<size_t>(8 * few_stride()) * sizeof(Word));
    for (int64_t i = 0; i < t_.num_lanes; ++i) {
      const T* from = query(i);
      to_words(from, h_.key_width, q_ + i * few_stride());
      to_words(from + h_.key_width, h_.shared_width, q_ + i * few_stride() + few_shared());
    }
  }
#if FATHOM_RUNG_LEVEL >= 1
  // s_ [lanes][64] = scale K Q^T of a block.
  template <class Prefetch>
  void few_scores_of(const T* block, int64_t last, Prefetch& prefetch) {
    const int64_t n = t_.num_lanes;
#if FATHOM_RUNG_LEVEL >= 3
    if constexpr (U::kPer == 2) return few_pair_scores(n, h_, block, last, q_, few_shared(), few_stride(), k_, s_, prefetch);
#endif
#if FATHOM_RUNG_LEVEL == 1
    few_scores(n, h_, block, last, q_, few_shared(), few_stride(), k_, s_, prefetch);
#else
    if constexpr (U::kPer == 1) {
      if (n == 1)
        few_scores<1>(h_, block, last, q_, few_shared(), few_stride(), s_, prefetch);
      else if (n == 2)
        few_scores<2>(h_, block, last, q_, few_shared(), few_stride(), s_, prefetch);
      else if (n <= 4)
        few_scores<4>(h_, block, last, q_, few_shared(), few_stride(), s_, prefetch);
      else
        few_scores<8>(h_, block, last, q_, few_shared(), few_stride(), s_, prefetch);
    }
#endif
  }
  // o (+)= P V of a block for the lanes from `from` on.
  template <class Ahead>
  void few_sums(const T* block, int64_t last, int64_t from, bool fresh, float* o, const Ahead& ahead, int64_t ahead_step) {
    const int64_t n = t_.num_lanes - from;
    float* p = s_ + from * 64;
#if FATHOM_RUNG_LEVEL >= 3
    if constexpr (U::kPer == 2) {
      for (int64_t i = 0; i < n; ++i) few_pairs(p + i * 64, last);
      const FewWords pairs{reinterpret_cast<const uint32_t*>(p), 64, 1};
      return fresh ? few_values<true>(n, h_, block, last, pairs, o, value_, alpha_ + from)
                   : few_values<false>(n, h_, block, last, pairs, o, value_, alpha_ + from);
    }
#endif
    if constexpr (U::kPer == 1) {
      const Gemm<T> g{n, value_ / 16, last + 1,      64, 1,         block + h_.value_offset, h_.row_width,
                      o, value_,      alpha_ + from, 1,  ahead_step};
#if FATHOM_RUNG_LEVEL == 1
      using V = std::conditional_t<std::is_same_v<T, bf16>, SplitWord, U>;
#else
      using V = U;
#endif
      if (fresh)
        gemm_few<V, Start::kZero>(g, p, ahead);
      else
        gemm_few<V, Start::kScaled>(g, p, ahead);
    }
  }
  void run_few(int64_t begin, int64_t end, int64_t last_position, const State& state) {
    const int64_t n = t_.num_lanes, line = 64 / sizeof(T);
    const int64_t squares = 4 * ((h_.key_width + line - 1) / line + (h_.shared_width + line - 1) / line);
    const auto valid = [&](int64_t b) { return at_most(64, last_position + 1 - b * 64); };
    Prefetch next;  // from end to end: rows read line by line would come from memory at a third of the speed
    next.aim(t_.blocks[begin], valid(begin), stored_, sizeof(T));
    next.step(next.lines(1));
    for (int64_t b = begin; b < end; ++b) {
      const T* block = rows(b, valid(b));
      const int64_t last = valid(b) - 1;
      if (b + 1 <= last_position / 64) next.aim(t_.blocks[b + 1], valid(b + 1), stored_, sizeof(T));
#if FATHOM_RUNG_LEVEL == 1
      // More than 20 lines at a time wait for each other: the value product takes those that it has room for.
      const Prefetch whole = next.lines(squares) > 20 ? next : Prefetch{};
      const auto ahead = [&](int64_t i) { return whole.line(i, block); };
      if (whole.row) next.leave(value_ / 16 / few_wide(n));
#else
      const NoAhead ahead;
#endif
      const int64_t lines = next.lines(squares);
      auto prefetch = [&] { next.step(lines); };
      few_scores_of(block, last, prefetch);
      const int64_t from = first_visible(t_, b * 64, 0);
      for (int64_t i = from; i < n; ++i)
        few_softmax<T>(s_ + i * 64, position(i) - b * 64, last, state.m + i, state.l + i, alpha_ + i);
      few_sums(block, last, from, b == begin, state.o + from * value_, ahead, next.row_bytes);
    }
  }
#endif

  // keys_ [64][keys_row] words: a whole block's are read where they stand, where a key is one run of pairs.
  void find_keys(const T* block, int64_t valid) {
    const bool run = h_.shared_width == 0 || h_.shared_offset == h_.key_offset + h_.key_width;
    if (thin_ && valid == 64 && run && h_.key_width % 2 == 0 && h_.shared_width % 2 == 0 && h_.row_width % 2 == 0) {
      keys_ = reinterpret_cast<const Word*>(block + h_.key_offset), keys_row_ = h_.row_width / 2;
    } else {
      pack_keys<T, U>(h_, block, valid, k_);
      keys_ = k_, keys_row_ = key_;
    }
  }

  // s [keys][lanes] = scale K Q^T, in pieces of the depth so that the queries' words stay in L1.
  void scores(const Word* q, int64_t lanes, int64_t keys, Prefetch& next) {
#if FATHOM_RUNG_LEVEL >= 3
    if constexpr (U::kPer == 2) {
      if (const char* ahead = thin_ && keys == 64 ? next.take_run() : nullptr) {
        for (int64_t j = 0; j < keys; j += 16, ahead += 64 * key_) {  // key_ words of 16 keys: as many lines
          const Gemm<Word> g{16, 1, key_, keys_row_, 1, q, lanes, s_ + j * lanes, lanes, nullptr, h_.scale};
          panel<U, 16, 1, Start::kZero, false, true>(g, keys_ + j * keys_row_, q, g.c, nullptr, ahead);
        }
        return;
      }
    }
#endif
    const int64_t piece = thin_ ? 320 : lanes > 16 ? 128 : 64, calls = (key_ + piece - 1) / piece * ((keys + 15) / 16);
    const int64_t lines = next.lines(calls);
    for (int64_t d = 0; d < key_; d += piece) {
      const int64_t depth = at_most(piece, key_ - d);
      const float scale = d + depth == key_ ? h_.scale : 1;
      for (int64_t j = 0; j < keys; j += 16) {
        const Gemm<Word> g{at_most(16, keys - j), lanes / 16, depth,   keys_row_, 1, q + d * lanes, lanes,
                           s_ + j * lanes,        lanes,      nullptr, scale};
        if (d == 0)
          gemm<U, Start::kZero, false>(g, keys_ + j * keys_row_ + d);
        else
          gemm<U, Start::kLoad, false>(g, keys_ + j * keys_row_ + d);
        next.step(lines);
      }
    }
  }

  // Block b, the tile's lanes [begin, begin + 48).
  void step(int64_t b, [[maybe_unused]] const T* block, bool fresh, int64_t begin, const State& state, Prefetch& next) {
    const int64_t n = at_most(kTileLanes, t_.num_lanes - begin), lanes = round16(n);
    const int64_t last = position(begin + n - 1) - b * 64, first = position(begin) - b * 64;  // relative to the block
    if (last < 0) return;
    const int64_t keys = (at_most(last, 63) / 8 + 1) * 8;
    scores(q_ + begin * key_, lanes, keys, next);
    for (int64_t i = 0; i < lanes; ++i)
      rel_[i] = static_cast<float>(i < n ? at_most(at_least(position(begin + i) - b * 64, -1), 64) : 64);
    float *m = state.m + begin, *l = state.l + begin;
    for (int64_t i = 0; i < lanes; i += 16) {
      if (first < keys - 1)
        softmax<T, true>(s_ + i, lanes, keys, rel_ + i, m + i, l + i, alpha_ + i);
      else
        softmax<T, false>(s_ + i, lanes, keys, rel_ + i, m + i, l + i, alpha_ + i);
    }
    const Word* p = probability_words<U>(s_, lanes, keys);
    const int64_t from = first_visible(t_, b * 64, begin) - begin;  // earlier lanes do not see this block: untouched
#if FATHOM_RUNG_LEVEL >= 3
    if constexpr (U::kPer == 2) {
      if (thin_) return thin_sums(block, at_most(last, 63), from, n, lanes, fresh, p, state.o);
    }
#endif
    const Gemm<Word> g{n - from,
                       value_ / 16,
                       keys / U::kPer,
                       1,
                       lanes,
                       v_,
                       value_stride_,
                       state.o + (begin + from) * value_,
                       value_,
                       alpha_ + from,
                       1};
    if (fresh)
      gemm<U, Start::kZero, true>(g, p + from);
    else
      gemm<U, Start::kScaled, true>(g, p + from);
  }

#if FATHOM_RUNG_LEVEL >= 3
  // o (+)= P V for the lanes [from, n), values paired in registers: packing them pays from more lanes on.
  void thin_sums(const bf16* block, int64_t last, int64_t from, int64_t n, int64_t lanes, bool fresh, const uint32_t* p,
                 float* o) {
    for (int64_t i = from; i < n; i += kFewLanes) {
      const int64_t count = at_most(kFewLanes, n - i);
      const FewWords pairs{p + i, 1, lanes};
      if (fresh)
        few_values<true>(count, h_, block, last, pairs, o + i * value_, value_, alpha_ + i);
      else
        few_values<false>(count, h_, block, last, pairs, o + i * value_, value_, alpha_ + i);
    }
  }
#endif

  const ForwardTile& t_;
  const AttentionHead& stored_;
  const bool quantised_;
  const AttentionHead h_;      // of rows in the compute type
  const int64_t key_, value_;  // words a key, padded elements a value
  int64_t value_stride_;
  bool shared_value_, few_ = false, thin_ = false;
  const Word* keys_ = nullptr;
  int64_t keys_row_ = 0;
  float* free_;
  Word *k_, *v_, *q_;
  T* opened_ = nullptr;
  float *s_, *alpha_, *rel_;
};

template <class T, class U>
void forward_tile(const ForwardTile& tile, float* scratch, float* partial) {
  Forward<T, U> forward(tile, scratch);
  if (tile.joined) {
    const State s = forward.take_state();
    forward.run(tile.super_begin, s);
    const int64_t group = tile.head.group, value = padded_width(tile.head.value_width);
    for (int64_t lane = 0; lane < tile.num_lanes; lane += group) {
      const JoinedQuery& to = tile.joined[lane / group];
      __builtin_memcpy(to.o, s.o + lane * value, static_cast<size_t>(group * value) * sizeof(float));
      __builtin_memcpy(to.m, s.m + lane, static_cast<size_t>(group) * sizeof(float));
      __builtin_memcpy(to.l, s.l + lane, static_cast<size_t>(group) * sizeof(float));
    }
    return;
  }
  if (partial) {
    const int64_t o = tile.num_lanes * padded_width(tile.head.value_width);
    // m and l of whole vectors are written: they stand in scratch, then move.
    State s = forward.take_state();
    s.o = partial;
    forward.run(tile.super_begin, s);
    __builtin_memcpy(partial + o, s.m, static_cast<size_t>(tile.num_lanes) * sizeof(float));
    __builtin_memcpy(partial + o + tile.num_lanes, s.l, static_cast<size_t>(tile.num_lanes) * sizeof(float));
    return;
  }
  const State sum = forward.take_state(), part = forward.take_state();
  for (int64_t super = tile.super_begin; super < tile.super_end; ++super) {
    forward.run(super, super == tile.super_begin ? sum : part);
    if (super > tile.super_begin) forward.merge(tile, super, sum, part);
  }
  forward.finish(tile, sum);
}

template <class T>
void merge_tile(const ForwardTile& tile, float* states) {
  const int64_t n = tile.num_lanes, floats = forward_state_floats(tile.head, n), o = n * padded_width(tile.head.value_width);
  auto state = [&](int64_t super) {
    float* p = states + (super - tile.super_begin) * floats;
    return State{p, p + o, p + o + n};
  };
  for (int64_t super = tile.super_begin + 1; super < tile.super_end; ++super)
    Forward<T, FloatWord>::merge(tile, super, state(tile.super_begin), state(super));
  Forward<T, FloatWord>::finish(tile, state(tile.super_begin));
}

}  // namespace

#if FATHOM_RUNG_LEVEL >= 3
void forward_tile_bf16(const ForwardTile& tile, float* scratch, float* partial) {
  forward_tile<bf16, PairWord>(tile, scratch, partial);
}
#else
void forward_tile_f32(const ForwardTile& tile, float* scratch, float* partial) {
  forward_tile<float, FloatWord>(tile, scratch, partial);
}
void forward_tile_bf16(const ForwardTile& tile, float* scratch, float* partial) {
  forward_tile<bf16, FloatWord>(tile, scratch, partial);
}
void merge_tile_f32(const ForwardTile& tile, float* states) { merge_tile<float>(tile, states); }
#endif
void merge_tile_bf16(const ForwardTile& tile, float* states) { merge_tile<bf16>(tile, states); }
#if FATHOM_RUNG_LEVEL == 0
void forward_tile_dot(const ForwardTile& tile, float* scratch, float* partial) {
  forward_tile<bf16, PairWord>(tile, scratch, partial);
}
#endif

}  // namespace fathom::FATHOM_RUNG
