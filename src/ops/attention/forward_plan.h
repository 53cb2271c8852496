// How a forward's queries are cut into tiles for the threads. No bit depends on the cut: each super-block is summed from fresh
// and merged in order, whoever sums it.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/attention/attention_cpu.h"

namespace fathom {

// A tile to the end; or one super-block of a tile, whose state is kept for a merge (where there are too few tiles for the
// threads, or where sequences share that super-block and so read it once, together).
struct ForwardPiece {
  ForwardTile tile;
  float* partial;  // null: the tile's output is written, or its states go to tile.joined
  int64_t cost;    // positions x lanes
};
struct ForwardMerge {
  ForwardTile tile;
  float* states;  // of all its super-blocks
};
struct ForwardPlan {
  std::vector<ForwardPiece> pieces;              // the dearest first
  std::vector<ForwardMerge> merges;              // after all pieces
  std::vector<std::vector<JoinedQuery>> joined;  // what tiles of several sequences point at
  std::shared_ptr<std::byte> states;
};

// Arguments as attention_forward's.
ForwardPlan plan_forward(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                         Tensor& out, Tensor* lse);

}  // namespace fathom
