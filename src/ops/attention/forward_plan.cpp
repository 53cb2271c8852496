#include "ops/attention/forward_plan.h"

#include <algorithm>
#include <map>

#include "base/thread_pool.h"
#include "ops/attention/attention_dispatch.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

constexpr int64_t kSuperPositions = kSuperBlocks * kKeyBlock, kLanesATile = kForwardTiles * kTileLanes;

// Sequences of few queries that have a whole super-block in common, the same memory, seen whole by all of them.
struct SharedSuper {
  int64_t super;
  std::vector<size_t> members;  // at least two
};
std::vector<SharedSuper> shared_supers(std::span<const AttentionSequence> sequences, int64_t group) {
  std::vector<SharedSuper> shared;
  std::map<std::vector<const void*>, size_t> found;  // the super-block's blocks: a place in `shared`
  for (size_t i = 0; i < sequences.size(); ++i) {
    const AttentionSequence& s = sequences[i];
    if (s.num_queries == 0 || s.num_queries * group > kLanesATile / 2) continue;
    for (int64_t super = 0; (super + 1) * kSuperPositions - 1 <= s.first_position; ++super) {
      const auto blocks = s.blocks.subspan(static_cast<size_t>(super * kSuperBlocks), kSuperBlocks);
      const auto [it, is_new] = found.emplace(std::vector<const void*>(blocks.begin(), blocks.end()), shared.size());
      if (is_new) shared.push_back({super, {}});
      shared[it->second].members.push_back(i);
    }
  }
  std::erase_if(shared, [](const SharedSuper& s) { return s.members.size() < 2; });
  return shared;
}

class Planner {
 public:
  Planner(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences, Tensor& out,
          Tensor* lse)
      : layout_(layout), q_(q), sequences_(sequences), out_(out), lse_(lse), group_(layout.num_heads / layout.num_kv_heads) {}

  ForwardPlan make() {
    if (sequences_.size() > 1) shared_ = shared_supers(sequences_, group_);
    joined_.resize(sequences_.size());
    for (const SharedSuper& s : shared_)
      for (const size_t i : s.members) joined_[i].push_back(s.super);
    make_tiles();
    place_states();
    for (const Tile& t : tiles_) cut(t);
    for (const SharedSuper& s : shared_)
      for (int64_t g = 0; g < layout_.num_kv_heads; ++g) join(s, g);
    std::stable_sort(plan_.pieces.begin(), plan_.pieces.end(), [](const auto& a, const auto& b) { return a.cost > b.cost; });
    return std::move(plan_);
  }

 private:
  struct Tile {
    ForwardTile tile;
    size_t sequence;
    int64_t states = -1;  // offset of its states, where super-blocks are summed apart
  };

  ForwardTile tile_of(size_t sequence, int64_t g) const {
    const AttentionSequence& s = sequences_[sequence];
    const int64_t bytes = dtype_bytes(q_.dtype());
    ForwardTile t{};
    t.head = attention_head(layout_, q_.dtype(), g);
    t.q = q_.raw() + (s.query_begin * q_.row_stride() + g * group_ * layout_.query_width()) * bytes;
    t.out = out_.raw() + (s.query_begin * out_.row_stride() + g * group_ * layout_.value_width) * bytes;
    t.lse = lse_ ? lse_->row<float>(s.query_begin) + g * group_ : nullptr;
    t.q_stride = q_.row_stride(), t.out_stride = out_.row_stride(), t.lse_stride = lse_ ? lse_->row_stride() : 0;
    t.blocks = s.blocks.data();
    t.first_position = s.first_position;
    return t;
  }
  void make_tiles() {
    first_tile_.resize(sequences_.size());
    for (size_t i = 0; i < sequences_.size(); ++i) {
      const AttentionSequence& s = sequences_[i];
      first_tile_[i] = tiles_.size();
      for (int64_t g = 0; g < layout_.num_kv_heads && s.num_queries > 0; ++g) {
        ForwardTile t = tile_of(i, g);
        for (int64_t lane = 0; lane < s.num_queries * group_; lane += kLanesATile) {
          t.first_lane = lane;
          t.num_lanes = std::min(kLanesATile, s.num_queries * group_ - lane);
          t.super_begin = 0;
          t.super_end = (s.first_position + (lane + t.num_lanes - 1) / group_) / kSuperPositions + 1;
          tiles_.push_back({t, i});
        }
      }
    }
  }
  void place_states() {
    const bool split = static_cast<int64_t>(tiles_.size()) < 4 * num_threads() && num_threads() > 1;
    int64_t floats = 0;
    for (Tile& t : tiles_) {
      if (joined_[t.sequence].empty() && (!split || t.tile.super_end == 1)) continue;
      t.states = floats;
      floats += forward_state_floats(t.tile.head, t.tile.num_lanes) * t.tile.super_end;
    }
    if (floats == 0) return;
    plan_.states = allocate_storage(floats * static_cast<int64_t>(sizeof(float)));
    states_ = reinterpret_cast<float*>(plan_.states.get());
  }
  float* state_of(const Tile& t, int64_t super) const {
    return states_ + t.states + super * forward_state_floats(t.tile.head, t.tile.num_lanes);
  }
  // The tile's own pieces: all of it, or its super-blocks without those that are joined.
  void cut(const Tile& t) {
    const int64_t last = t.tile.first_position + (t.tile.first_lane + t.tile.num_lanes - 1) / group_;
    if (t.states < 0) {
      plan_.pieces.push_back({t.tile, nullptr, last * t.tile.num_lanes});
      return;
    }
    plan_.merges.push_back({t.tile, state_of(t, 0)});
    const std::vector<int64_t>& joined = joined_[t.sequence];
    for (int64_t super = 0; super < t.tile.super_end; ++super) {
      if (std::find(joined.begin(), joined.end(), super) != joined.end()) continue;
      ForwardPiece p{t.tile, state_of(t, super), kSuperPositions * t.tile.num_lanes};
      p.tile.super_begin = super, p.tile.super_end = super + 1;
      plan_.pieces.push_back(p);
    }
  }
  // One kv head of a shared super-block, for the queries of all members.
  void join(const SharedSuper& shared, int64_t g) {
    std::vector<JoinedQuery> queries;
    const auto flush = [&] {
      if (queries.empty()) return;
      plan_.joined.push_back(std::move(queries));
      queries.clear();
      ForwardTile t = tile_of(shared.members[0], g);
      t.first_position = (shared.super + 1) * kSuperPositions - 1;  // all keys are seen
      t.first_lane = 0, t.num_lanes = static_cast<int64_t>(plan_.joined.back().size()) * group_;
      t.super_begin = shared.super, t.super_end = shared.super + 1;
      t.joined = plan_.joined.back().data();
      plan_.pieces.push_back({t, nullptr, kSuperPositions * t.num_lanes});
    };
    for (const size_t i : shared.members) {
      const Tile& t = tiles_[first_tile_[i] + static_cast<size_t>(g)];  // few queries: one tile a head
      float* state = state_of(t, shared.super);
      const int64_t value = padded_width(t.tile.head.value_width), n = t.tile.num_lanes;
      for (int64_t j = 0; j < sequences_[i].num_queries; ++j) {
        if (static_cast<int64_t>(queries.size() + 1) * group_ > kLanesATile) flush();
        const auto* q = static_cast<const std::byte*>(t.tile.q) + j * t.tile.q_stride * dtype_bytes(q_.dtype());
        float* m = state + n * value + j * group_;
        queries.push_back({q, state + j * group_ * value, m, m + n});
      }
    }
    flush();
  }

  const AttentionLayout& layout_;
  const Tensor& q_;
  const std::span<const AttentionSequence> sequences_;
  Tensor& out_;
  Tensor* const lse_;
  const int64_t group_;
  std::vector<SharedSuper> shared_;
  std::vector<std::vector<int64_t>> joined_;  // by sequence: super-blocks that others sum for it
  std::vector<Tile> tiles_;
  std::vector<size_t> first_tile_;  // by sequence
  float* states_ = nullptr;
  ForwardPlan plan_;
};

}  // namespace

ForwardPlan plan_forward(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                         Tensor& out, Tensor* lse) {
  return Planner(layout, q, sequences, out, lse).make();
}

}  // namespace fathom
