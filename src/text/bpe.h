// Byte-pair encoding of one piece: merges of lowest rank first, leftmost first.
#pragma once
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace fathom {

// From a pair of ids to the rank of the merge that joins them, and from a rank to the id made. A pair and its rank are one
// word of an open-addressing table, and most pairs, which no merge joins, end at a bit of a small filter: both stay in cache.
class MergeTable {
 public:
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();  // above every rank
  static constexpr int32_t kMaxId = (1 << 20) - 1, kMaxRank = (1 << 23) - 1;
  void reserve(size_t n);
  // A later one replaces an earlier one. Ids and rank within the limits above.
  void set(int32_t left, int32_t right, int32_t rank, int32_t id);
  int32_t rank(int32_t left, int32_t right) const {  // kNone: no merge joins them
    const uint64_t key = key_of(left, right), hash = key * 0x9E3779B97F4A7C15u;
    const size_t bit = static_cast<size_t>(hash >> filter_shift_);
    if (!(filter_[bit >> 6] >> (bit & 63) & 1)) return kNone;
    for (size_t i = static_cast<size_t>(hash >> shift_);; i = (i + 1) & mask_) {
      const uint64_t slot = slots_[i];
      if (slot >> kRankBits == key) return static_cast<int32_t>(slot & kRankMask);
      if (slot == kEmpty) return kNone;
    }
  }
  int32_t merged(int32_t rank) const { return merged_[static_cast<size_t>(rank)]; }

 private:
  static constexpr int kRankBits = 24;
  static constexpr uint64_t kRankMask = (1 << kRankBits) - 1, kEmpty = ~uint64_t{0};
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 20 | static_cast<uint32_t>(right);
  }
  void insert(uint64_t key, uint64_t rank);
  std::vector<uint64_t> slots_ = std::vector<uint64_t>(2, kEmpty);  // key << 24 | rank
  std::vector<uint64_t> filter_ = std::vector<uint64_t>(1);
  std::vector<int32_t> merged_;
  size_t mask_ = 1, used_ = 0;
  int shift_ = 63, filter_shift_ = 58;
};

// Buffers that live from piece to piece.
struct BpeScratch {
  struct Symbol {
    int32_t id, previous, next;
  };
  struct Candidate {
    int32_t rank, position, left, right;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<int32_t> ids, ranks;
  int64_t steps = 0;  // pairs looked at and moves in the heap, of all pieces so far: what tests of linear time count
};

// ids: one per symbol at first; merged in place. Short pieces scan for the lowest rank, long ones keep a heap: n log n.
// ranks (scratch.ranks), where `ranks_known`: of the pairs of ids at first, kNone where no merge joins them.
void merge_piece(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch, bool ranks_known = false);

}  // namespace fathom
