// Byte-pair encoding of one piece: merges of lowest rank first, leftmost first.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace fathom {

// From a pair of ids to the merge that joins them; open addressing.
class MergeTable {
 public:
  struct Merge {
    int32_t rank, id;
  };
  void reserve(size_t n);
  void set(int32_t left, int32_t right, Merge merge);  // a later one replaces an earlier one
  const Merge* find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return &slots_[i].merge;
      if (slots_[i].key == kEmpty) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge{};
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const { return static_cast<size_t>(key * 0x9E3779B97F4A7C15u >> shift_); }
  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1, used_ = 0;
  int shift_ = 63;
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
};

// ids: one per symbol at first; merged in place. Short pieces scan for the lowest rank, long ones keep a heap: n log n.
void merge_piece(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch);

}  // namespace fathom
