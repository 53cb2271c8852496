// Who owns which cache block. Pure bookkeeping: no memory, no model.
//
// A block holds kKeyBlock positions. A sequence's table lists its blocks; a block may stand in many tables (reference
// counts). With sharing, computed blocks stand in a tree keyed by their tokens: a path from the root spells a prefix, so
// equal paths hold equal keys and values (strict numerics: the bits of a row depend on the tokens up to it only). Inner
// nodes are full blocks; a leaf may be a partly filled one, whose first rows another sequence takes over by copying.
// Unreferenced blocks stay in the tree until their place is needed: least recently used leaf first.
//
// Invariant: with sharing, every full computed block of a table is a node of the tree, so prefixes meet again.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "ops/attention/attention.h"

namespace fathom {

struct BlockTable {
  std::vector<int32_t> blocks;  // blocks[b]: positions [64b, 64b + 64)
  int64_t num_shared = 0;       // the first num_shared blocks are full and in the tree
};
struct BlockCopy {
  int32_t from, to;
};

class BlockManager {
 public:
  static constexpr int32_t kRoot = -1;
  static constexpr int64_t kMinPartialRows = 8;  // fewer rows are cheaper to compute than to copy a block for

  BlockManager(int64_t num_blocks, bool sharing);
  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t num_available() const { return static_cast<int64_t>(free_.size()) + num_cached_; }  // free, or evictable
  int64_t num_used() const { return num_blocks() - num_available(); }                         // in some table
  bool sharing() const { return sharing_; }

  // What the tree holds of tokens[0, limit) beyond the table's shared blocks. The table must end at a shared block.
  struct Match {
    std::vector<int32_t> full;  // whole blocks
    int32_t partial = -1;       // a block whose first partial_rows rows continue the prefix
    int64_t partial_rows = 0;
    int64_t unreferenced = 0;  // how many of `full` count as available now and will not any more
    int32_t end_node(const BlockTable& table) const { return full.empty() ? last_shared(table) : full.back(); }
  };
  Match find(const BlockTable& table, std::span<const int32_t> tokens, int64_t limit) const;
  // Takes the matched blocks into the table; returns the positions that the table now holds. The partial one is copied
  // (`copies` grows), taken over, or left where no block is available.
  int64_t adopt(BlockTable& table, const Match& match, std::vector<BlockCopy>& copies);

  // Makes positions [begin, end) writable: appends blocks, and copies the block of `begin` where others read it. Returns
  // the end of what is writable: less than `end` where blocks ran out.
  int64_t reserve(BlockTable& table, int64_t begin, int64_t end, std::vector<BlockCopy>& copies);
  // Positions [0, computed) of `tokens` are in the cache: full blocks enter the tree (an equal one that is already there
  // takes the place of ours), with `tail` the partly filled last block too.
  void commit(BlockTable& table, std::span<const int32_t> tokens, int64_t computed, bool tail);
  void fork(const BlockTable& from, BlockTable& to);  // `to` (empty) shares all blocks
  void release(BlockTable& table);
  int64_t num_own(const BlockTable& table) const;  // blocks that no other table holds: release() makes them available
  void drop_cached();                              // forgets every block that no table holds

  static int32_t last_shared(const BlockTable& table) {
    return table.num_shared == 0 ? kRoot : table.blocks[static_cast<size_t>(table.num_shared - 1)];
  }
  void check_invariants(std::span<const BlockTable* const> tables) const;  // for tests: aborts where broken

 private:
  struct TokensLess {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }
  };
  // In the order of their tokens: the child with the longest common prefix is a neighbour of where the tokens would stand.
  using Children = std::map<std::vector<int32_t>, int32_t, TokensLess>;
  struct Block {
    int32_t references = 0;
    bool in_tree = false;
    int32_t parent = kRoot;
    uint64_t last_use = 0;
    std::vector<int32_t> tokens;  // of a node: up to kKeyBlock
    Children children;
  };

  Block& at(int32_t id) { return blocks_[static_cast<size_t>(id)]; }
  const Block& at(int32_t id) const { return blocks_[static_cast<size_t>(id)]; }
  Children& children_of(int32_t node) { return node == kRoot ? root_ : at(node).children; }
  const Children& children_of(int32_t node) const { return node == kRoot ? root_ : at(node).children; }
  std::pair<int32_t, int64_t> longest_match(int32_t node, std::span<const int32_t> tokens) const;  // child, rows
  int32_t allocate();                                                                              // referenced once; -1: none
  void reference(int32_t id);
  void unreference(int32_t id);
  void insert(int32_t id, int32_t parent, std::span<const int32_t> tokens);
  void remove(int32_t id);  // out of the tree; the block has no children
  void mark_leaf(int32_t id);
  void unmark_leaf(int32_t id);

  bool sharing_;
  std::vector<Block> blocks_;
  std::vector<int32_t> free_;
  Children root_;
  std::set<std::pair<uint64_t, int32_t>> leaves_;  // evictable: unreferenced nodes without children, by last use
  int64_t num_cached_ = 0;                         // unreferenced nodes
  uint64_t clock_ = 0;
};

}  // namespace fathom
