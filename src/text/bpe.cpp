#include "text/bpe.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int32_t kNone = MergeTable::kNone;
constexpr size_t kScanned = 64;  // symbols up to which looking through all ranks is faster than a heap

void merge_by_scan(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch) {
  int32_t* const id = ids.data();
  int32_t* const ranks = scratch.ranks.data();
  size_t n = ids.size();
  while (n > 1) {
    size_t best = 0;
    int32_t lowest = ranks[0];
    for (size_t i = 1; i + 1 < n; ++i) {
      const bool lower = ranks[i] < lowest;
      lowest = lower ? ranks[i] : lowest;
      best = lower ? i : best;
    }
    scratch.steps += static_cast<int64_t>(n);
    if (lowest == kNone) break;
    id[best] = merges.merged(lowest);
    --n;
    for (size_t i = best + 1; i < n; ++i) id[i] = id[i + 1], ranks[i] = ranks[i + 1];
    if (best + 1 < n) ranks[best] = merges.rank(id[best], id[best + 1]);
    if (best > 0) ranks[best - 1] = merges.rank(id[best - 1], id[best]);
  }
  ids.resize(n);
}

void merge_by_heap(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch) {
  CHECK(ids.size() < static_cast<size_t>(kNone));
  const auto n = static_cast<int32_t>(ids.size());
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.resize(ids.size());
  heap.clear();
  for (int32_t i = 0; i < n; ++i) symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1};
  const auto after = [&steps = scratch.steps](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    ++steps;
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  for (int32_t i = 0; i + 1 < n; ++i)
    if (scratch.ranks[i] != kNone) heap.push_back({scratch.ranks[i], i, ids[i], ids[i + 1]});
  std::make_heap(heap.begin(), heap.end(), after);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), after);
    const BpeScratch::Candidate top = heap.back();
    heap.pop_back();
    BpeScratch::Symbol& symbol = symbols[top.position];
    // Stale where one of the two was merged since; a removed symbol has id -1.
    if (symbol.id != top.left || symbol.next < 0 || symbols[symbol.next].id != top.right) continue;
    BpeScratch::Symbol& right = symbols[symbol.next];
    symbol.id = merges.merged(top.rank);
    right.id = -1;
    symbol.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = top.position;
    for (const int32_t i : {symbol.previous, top.position}) {
      const int32_t next = i < 0 ? -1 : symbols[i].next;
      if (next < 0) continue;
      const int32_t rank = merges.rank(symbols[i].id, symbols[next].id);
      if (rank == kNone) continue;
      heap.push_back({rank, i, symbols[i].id, symbols[next].id});
      std::push_heap(heap.begin(), heap.end(), after);
    }
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace

void MergeTable::insert(uint64_t key, uint64_t rank) {
  const uint64_t hash = key * 0x9E3779B97F4A7C15u;
  const size_t bit = static_cast<size_t>(hash >> filter_shift_);
  filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
  size_t i = static_cast<size_t>(hash >> shift_);
  while (slots_[i] != kEmpty && slots_[i] >> kRankBits != key) i = (i + 1) & mask_;
  used_ += slots_[i] == kEmpty;
  slots_[i] = key << kRankBits | rank;
}

void MergeTable::reserve(size_t n) {
  size_t capacity = 2;
  int shift = 63;
  while (capacity < 2 * n) capacity *= 2, --shift;
  if (capacity <= slots_.size()) return;
  std::vector<uint64_t> old(capacity, kEmpty);
  old.swap(slots_);
  mask_ = capacity - 1;
  shift_ = shift;
  used_ = 0;
  // Eight bits of filter for a slot: at most one bit in sixteen is set.
  filter_.assign(std::max<size_t>(1, capacity / 8), 0);
  filter_shift_ = std::min(shift - 3, 58);
  for (const uint64_t slot : old)
    if (slot != kEmpty) insert(slot >> kRankBits, slot & kRankMask);
}

void MergeTable::set(int32_t left, int32_t right, int32_t rank, int32_t id) {
  CHECK(left >= 0 && left <= kMaxId && right >= 0 && right <= kMaxId && rank >= 0 && rank <= kMaxRank);
  if (2 * (used_ + 1) > slots_.size()) reserve(2 * (used_ + 1));
  insert(key_of(left, right), static_cast<uint64_t>(rank));
  if (merged_.size() <= static_cast<size_t>(rank)) merged_.resize(static_cast<size_t>(rank) + 1, -1);
  merged_[static_cast<size_t>(rank)] = id;
}

void merge_piece(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch, bool ranks_known) {
  if (ids.size() < 2) return;
  if (!ranks_known) {
    scratch.ranks.resize(ids.size());
    for (size_t i = 0; i + 1 < ids.size(); ++i) scratch.ranks[i] = merges.rank(ids[i], ids[i + 1]);
    scratch.ranks.back() = kNone;
  }
  scratch.steps += static_cast<int64_t>(ids.size());
  if (ids.size() <= kScanned)
    merge_by_scan(merges, ids, scratch);
  else
    merge_by_heap(merges, ids, scratch);
}

}  // namespace fathom
