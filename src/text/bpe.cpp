#include "text/bpe.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int32_t kNoMerge = std::numeric_limits<int32_t>::max();

void merge_by_scan(const MergeTable& merges, std::vector<int32_t>& ids, std::vector<int32_t>& ranks) {
  const auto rank_at = [&](size_t i) {
    const MergeTable::Merge* merge = merges.find(ids[i], ids[i + 1]);
    return merge ? merge->rank : kNoMerge;
  };
  size_t n = ids.size();
  ranks.resize(n);
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = rank_at(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoMerge) break;
    ids[best] = merges.find(ids[best], ids[best + 1])->id;
    std::copy(ids.begin() + static_cast<std::ptrdiff_t>(best) + 2, ids.begin() + static_cast<std::ptrdiff_t>(n),
              ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(ranks.begin() + static_cast<std::ptrdiff_t>(best) + 2, ranks.begin() + static_cast<std::ptrdiff_t>(n),
              ranks.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --n;
    if (best + 1 < n) ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  ids.resize(n);
}

void merge_by_heap(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch) {
  CHECK(ids.size() < static_cast<size_t>(kNoMerge));
  const auto n = static_cast<int32_t>(ids.size());
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.resize(ids.size());
  heap.clear();
  for (int32_t i = 0; i < n; ++i) symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1};
  const auto after = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto push = [&](int32_t i) {
    const int32_t right = symbols[i].next;
    if (right < 0) return;
    const MergeTable::Merge* merge = merges.find(symbols[i].id, symbols[right].id);
    if (!merge) return;
    heap.push_back({merge->rank, i, symbols[i].id, symbols[right].id});
  };
  for (int32_t i = 0; i < n; ++i) push(i);
  std::make_heap(heap.begin(), heap.end(), after);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), after);
    const BpeScratch::Candidate top = heap.back();
    heap.pop_back();
    BpeScratch::Symbol& symbol = symbols[top.position];
    // Stale where one of the two was merged since; a removed symbol has id -1.
    if (symbol.id != top.left || symbol.next < 0 || symbols[symbol.next].id != top.right) continue;
    BpeScratch::Symbol& right = symbols[symbol.next];
    symbol.id = merges.find(top.left, top.right)->id;
    right.id = -1;
    symbol.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = top.position;
    for (const int32_t i : {symbol.previous, top.position}) {
      if (i < 0) continue;
      const size_t before = heap.size();
      push(i);
      if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), after);
    }
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace

void MergeTable::reserve(size_t n) {
  size_t capacity = 2;
  int shift = 63;
  while (capacity < 2 * n) capacity *= 2, --shift;
  if (capacity <= slots_.size()) return;
  std::vector<Slot> old(capacity);
  old.swap(slots_);
  mask_ = capacity - 1;
  shift_ = shift;
  used_ = 0;
  for (const Slot& slot : old)
    if (slot.key != kEmpty) set(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key), slot.merge);
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  if (2 * (used_ + 1) > slots_.size()) reserve(2 * (used_ + 1));
  const uint64_t key = key_of(left, right);
  size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  used_ += slots_[i].key == kEmpty;
  slots_[i] = {key, merge};
}

void merge_piece(const MergeTable& merges, std::vector<int32_t>& ids, BpeScratch& scratch) {
  if (ids.size() < 2) return;
  if (ids.size() <= 48)
    merge_by_scan(merges, ids, scratch.ranks);
  else
    merge_by_heap(merges, ids, scratch);
}

}  // namespace fathom
