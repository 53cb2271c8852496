#include "infer/block_manager.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

BlockManager::BlockManager(int64_t num_blocks, bool sharing) : sharing_(sharing), blocks_(static_cast<size_t>(num_blocks)) {
  CHECK(num_blocks > 0);
  for (int64_t id = num_blocks; id-- > 0;) free_.push_back(static_cast<int32_t>(id));  // low ids first
}

std::pair<int32_t, int64_t> BlockManager::longest_match(int32_t node, std::span<const int32_t> tokens) const {
  const Children& children = children_of(node);
  std::pair<int32_t, int64_t> best{-1, 0};
  auto consider = [&](Children::const_iterator it) {
    const int64_t rows = common_prefix(tokens, it->first);
    if (rows > best.second) best = {it->second, rows};
  };
  const auto next = children.lower_bound(tokens);
  if (next != children.end()) consider(next);
  if (next != children.begin()) consider(std::prev(next));
  return best;
}

BlockManager::Match BlockManager::find(const BlockTable& table, std::span<const int32_t> tokens, int64_t limit) const {
  Match match;
  if (!sharing_) return match;
  CHECK_EQ(table.num_shared, table.blocks.size());
  int32_t node = last_shared(table);
  for (int64_t begin = table.num_shared * kKeyBlock; begin < limit;) {
    const int64_t count = std::min(kKeyBlock, limit - begin);
    const auto [child, rows] = longest_match(node, tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
    if (rows < kKeyBlock) {
      if (rows >= kMinPartialRows) match.partial = child, match.partial_rows = rows;
      break;
    }
    match.full.push_back(child);
    match.unreferenced += at(child).references == 0;
    node = child;
    begin += kKeyBlock;
  }
  return match;
}

int64_t BlockManager::adopt(BlockTable& table, const Match& match, std::vector<BlockCopy>& copies) {
  for (const int32_t id : match.full) {
    reference(id);
    table.blocks.push_back(id);
    ++table.num_shared;
  }
  int64_t positions = table.num_shared * kKeyBlock;
  if (match.partial < 0) return positions;
  reference(match.partial);  // so that it is not evicted for its own copy
  if (at(match.partial).references == 1 && static_cast<int64_t>(at(match.partial).tokens.size()) == match.partial_rows) {
    table.blocks.push_back(match.partial);  // nobody else's, and nothing behind the shared rows: goes on in place
    return positions + match.partial_rows;
  }
  if (const int32_t copy = allocate(); copy >= 0) {
    copies.push_back({match.partial, copy});
    table.blocks.push_back(copy);
    positions += match.partial_rows;
  }
  unreference(match.partial);
  return positions;
}

int64_t BlockManager::reserve(BlockTable& table, int64_t begin, int64_t end, std::vector<BlockCopy>& copies) {
  CHECK(begin >= table.num_shared * kKeyBlock && begin <= static_cast<int64_t>(table.blocks.size()) * kKeyBlock);
  if (begin < static_cast<int64_t>(table.blocks.size()) * kKeyBlock) {
    int32_t& id = table.blocks[static_cast<size_t>(begin / kKeyBlock)];
    if (at(id).references > 1) {
      const int32_t copy = allocate();
      if (copy < 0) return begin;
      copies.push_back({id, copy});
      unreference(id);
      id = copy;
    }
  }
  while (static_cast<int64_t>(table.blocks.size()) * kKeyBlock < end) {
    const int32_t id = allocate();
    if (id < 0) return std::max(begin, static_cast<int64_t>(table.blocks.size()) * kKeyBlock);
    table.blocks.push_back(id);
  }
  return end;
}

void BlockManager::commit(BlockTable& table, std::span<const int32_t> tokens, int64_t computed, bool tail) {
  if (!sharing_) return;
  while ((table.num_shared + 1) * kKeyBlock <= computed) {
    int32_t& id = table.blocks[static_cast<size_t>(table.num_shared)];
    const int32_t parent = last_shared(table);
    const auto key = tokens.subspan(static_cast<size_t>(table.num_shared * kKeyBlock), kKeyBlock);
    if (at(id).in_tree) remove(id);  // it stood there partly filled
    const auto found = children_of(parent).find(key);
    if (found == children_of(parent).end()) {
      insert(id, parent, key);
    } else {
      const int32_t other = found->second;
      reference(other);
      unreference(id);
      id = other;
    }
    ++table.num_shared;
  }
  const int64_t rows = computed - table.num_shared * kKeyBlock;
  if (!tail || rows < kMinPartialRows) return;
  const int32_t id = table.blocks[static_cast<size_t>(table.num_shared)];
  const int32_t parent = last_shared(table);
  const auto key = tokens.subspan(static_cast<size_t>(table.num_shared * kKeyBlock), static_cast<size_t>(rows));
  if (longest_match(parent, key).second == rows) return;  // as long a one is there (perhaps ours)
  if (at(id).in_tree) remove(id);                         // with fewer rows
  insert(id, parent, key);
}

void BlockManager::fork(const BlockTable& from, BlockTable& to) {
  CHECK(to.blocks.empty());
  to = from;
  for (const int32_t id : to.blocks) reference(id);
}

void BlockManager::release(BlockTable& table) {
  ++clock_;
  for (size_t i = table.blocks.size(); i-- > 0;) unreference(table.blocks[i]);
  table = {};
}

int64_t BlockManager::num_own(const BlockTable& table) const {
  return std::count_if(table.blocks.begin(), table.blocks.end(), [&](int32_t id) { return at(id).references == 1; });
}

void BlockManager::drop_cached() {
  while (!leaves_.empty()) {
    const int32_t id = leaves_.begin()->second;
    remove(id);
    free_.push_back(id);
  }
}

int32_t BlockManager::allocate() {
  if (free_.empty()) {
    if (leaves_.empty()) return -1;
    const int32_t victim = leaves_.begin()->second;
    remove(victim);
    free_.push_back(victim);
  }
  const int32_t id = free_.back();
  free_.pop_back();
  at(id).references = 1;
  return id;
}

void BlockManager::reference(int32_t id) {
  Block& block = at(id);
  if (block.references++ == 0) {
    --num_cached_;
    unmark_leaf(id);
  }
}

void BlockManager::unreference(int32_t id) {
  Block& block = at(id);
  CHECK(block.references > 0);
  if (--block.references > 0) return;
  if (!block.in_tree) {
    free_.push_back(id);
    return;
  }
  ++num_cached_;
  block.last_use = clock_;
  mark_leaf(id);
}

void BlockManager::mark_leaf(int32_t id) {
  const Block& block = at(id);
  if (block.references == 0 && block.children.empty()) leaves_.insert({block.last_use, id});
}

void BlockManager::unmark_leaf(int32_t id) { leaves_.erase({at(id).last_use, id}); }

void BlockManager::insert(int32_t id, int32_t parent, std::span<const int32_t> tokens) {
  Block& block = at(id);
  CHECK(!block.in_tree && block.references > 0);
  block.in_tree = true;
  block.parent = parent;
  block.tokens.assign(tokens.begin(), tokens.end());
  if (parent != kRoot) unmark_leaf(parent);
  CHECK(children_of(parent).emplace(block.tokens, id).second);
}

void BlockManager::remove(int32_t id) {
  Block& block = at(id);
  CHECK(block.in_tree && block.children.empty());
  if (block.references == 0) {
    unmark_leaf(id);
    --num_cached_;
  }
  CHECK_EQ(children_of(block.parent).erase(block.tokens), 1);
  block.in_tree = false;
  block.tokens.clear();
  if (block.parent != kRoot) mark_leaf(block.parent);
}

void BlockManager::check_invariants(std::span<const BlockTable* const> tables) const {
  std::vector<int32_t> references(blocks_.size(), 0);
  for (const BlockTable* table : tables) {
    for (const int32_t id : table->blocks) ++references[static_cast<size_t>(id)];
    for (int64_t b = 0; b < table->num_shared; ++b) {
      const Block& block = at(table->blocks[static_cast<size_t>(b)]);
      CHECK(block.in_tree && static_cast<int64_t>(block.tokens.size()) == kKeyBlock);
      CHECK_EQ(block.parent, b == 0 ? kRoot : table->blocks[static_cast<size_t>(b - 1)]);
    }
  }
  std::vector<bool> is_free(blocks_.size(), false);
  for (const int32_t id : free_) {
    CHECK(!is_free[static_cast<size_t>(id)]);
    is_free[static_cast<size_t>(id)] = true;
  }
  int64_t cached = 0, leaves = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    CHECK_EQ(block.references, references[i]);
    CHECK(is_free[i] == (block.references == 0 && !block.in_tree));
    if (!block.in_tree) CHECK(block.children.empty());
    if (!block.in_tree) continue;
    const auto it = children_of(block.parent).find(block.tokens);
    CHECK(it != children_of(block.parent).end() && it->second == static_cast<int32_t>(i));
    if (block.references > 0) continue;
    ++cached;
    for (const auto& [tokens, child] : block.children) CHECK_EQ(at(child).references, 0);
    if (block.children.empty()) {
      ++leaves;
      CHECK(leaves_.count({block.last_use, static_cast<int32_t>(i)}) == 1);
    }
  }
  CHECK_EQ(cached, num_cached_);
  CHECK_EQ(leaves, leaves_.size());
}

}  // namespace fathom
