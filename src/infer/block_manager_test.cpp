#include "infer/block_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/rng.h"

namespace fathom {
namespace {

std::vector<int32_t> tokens_of(int64_t n, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Computes `tokens` in a new table the way the scheduler does, all but what the tree gives. Returns the rows that it gave.
int64_t compute(BlockManager& manager, BlockTable& table, const std::vector<int32_t>& tokens,
                std::vector<BlockCopy>* copies = nullptr) {
  std::vector<BlockCopy> own;
  if (!copies) copies = &own;
  const int64_t n = static_cast<int64_t>(tokens.size());
  const int64_t have = manager.adopt(table, manager.find(table, tokens, n - 1), *copies);
  EXPECT_EQ(manager.reserve(table, have, n, *copies), n);
  manager.commit(table, tokens, n, true);
  return have;
}

TEST(BlockManager, SecondPromptStartsBehindTheSharedPrefix) {
  BlockManager manager(16, true);
  BlockTable a, b;
  EXPECT_EQ(compute(manager, a, tokens_of(200)), 0);
  EXPECT_EQ(manager.num_used(), 4);
  std::vector<int32_t> other = tokens_of(200);
  other[150] = 9999;  // 128 shared by block, 22 more by copying the third block
  std::vector<BlockCopy> copies;
  EXPECT_EQ(compute(manager, b, other, &copies), 150);
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, a.blocks[2]);
  EXPECT_EQ(copies[0].to, b.blocks[2]);
  EXPECT_EQ(b.blocks[0], a.blocks[0]);
  EXPECT_EQ(b.blocks[1], a.blocks[1]);
  EXPECT_EQ(manager.num_used(), 6);
  const BlockTable* tables[] = {&a, &b};
  manager.check_invariants(tables);
}

TEST(BlockManager, EqualPromptComputesItsLastRowOnly) {
  BlockManager manager(16, true);
  for (const int64_t n : {64, 65, 100, 128}) {
    BlockTable a, b;
    compute(manager, a, tokens_of(n, 1000 * static_cast<int32_t>(n)));
    EXPECT_EQ(compute(manager, b, tokens_of(n, 1000 * static_cast<int32_t>(n))), n - 1);
    manager.release(a);
    manager.release(b);
  }
  EXPECT_EQ(manager.num_used(), 0);
}

TEST(BlockManager, WithoutSharingNothingIsFound) {
  BlockManager manager(16, false);
  BlockTable a, b;
  compute(manager, a, tokens_of(200));
  EXPECT_EQ(compute(manager, b, tokens_of(200)), 0);
  EXPECT_EQ(manager.num_used(), 8);
  manager.release(a);
  manager.release(b);
  EXPECT_EQ(manager.num_used(), 0);
}

TEST(BlockManager, ForkCopiesThePartlyFilledBlockOnWrite) {
  BlockManager manager(8, true);
  BlockTable a, b, c;
  compute(manager, a, tokens_of(70));
  manager.fork(a, b);
  manager.fork(a, c);
  EXPECT_EQ(manager.num_used(), 2);
  std::vector<BlockCopy> copies;
  EXPECT_EQ(manager.reserve(a, 70, 71, copies), 71);
  EXPECT_EQ(manager.reserve(b, 70, 71, copies), 71);
  EXPECT_EQ(copies.size(), 2u);
  EXPECT_EQ(manager.reserve(c, 70, 71, copies), 71);  // the last one writes in place
  EXPECT_EQ(copies.size(), 2u);
  EXPECT_NE(a.blocks[1], b.blocks[1]);
  EXPECT_NE(a.blocks[1], c.blocks[1]);
  EXPECT_EQ(manager.num_used(), 4);
}

TEST(BlockManager, EqualFullBlocksBecomeOne) {
  BlockManager manager(8, true);
  BlockTable a, b;
  std::vector<BlockCopy> copies;
  const auto tokens = tokens_of(64);
  manager.reserve(a, 0, 64, copies);
  manager.reserve(b, 0, 64, copies);  // both computed it in the same step
  manager.commit(a, tokens, 64, false);
  manager.commit(b, tokens, 64, false);
  EXPECT_EQ(a.blocks[0], b.blocks[0]);
  EXPECT_EQ(manager.num_used(), 1);
}

TEST(BlockManager, EvictsTheLeastRecentlyUsedLeafFirst) {
  BlockManager manager(4, true);
  BlockTable a, b, c;
  compute(manager, a, tokens_of(128));        // two blocks
  compute(manager, b, tokens_of(128, 5000));  // two blocks
  manager.release(a);
  manager.release(b);
  EXPECT_EQ(manager.num_available(), 4);
  std::vector<BlockCopy> copies;
  EXPECT_EQ(manager.reserve(c, 0, 64, copies), 64);  // a's second block goes: its first stays a prefix
  BlockTable probe;
  EXPECT_EQ(manager.find(probe, tokens_of(128), 128).full.size(), 1u);
  EXPECT_EQ(manager.find(probe, tokens_of(128, 5000), 128).full.size(), 2u);
  EXPECT_EQ(manager.reserve(c, 64, 128, copies), 128);
  EXPECT_EQ(manager.find(probe, tokens_of(128), 128).full.size(), 0u);
  EXPECT_EQ(manager.find(probe, tokens_of(128, 5000), 128).full.size(), 2u);
  EXPECT_EQ(manager.reserve(c, 128, 320, copies), 256);  // four blocks are all there is
  manager.release(c);
  manager.drop_cached();
  EXPECT_EQ(manager.num_available(), 4);
}

// Random work against a model of the memory: every slot remembers the prefix whose row it holds, and whatever a table
// claims to hold must be there. A cache of few blocks, prompts over few tokens: collisions, evictions and copies abound.
class Simulation {
 public:
  Simulation(uint64_t seed, int64_t num_blocks, bool sharing)
      : rng_(seed, RngStream::kTest), manager_(num_blocks, sharing), slots_(static_cast<size_t>(num_blocks) * kKeyBlock) {}

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      const uint64_t what = rng_.next_below(10);
      if (what < 3)
        start();
      else if (what < 7)
        extend();
      else if (what < 8)
        fork();
      else if (what < 9 || live_.size() > 6)
        finish();
      else if (rng_.next_below(40) == 0)
        manager_.drop_cached();
      verify();
    }
    while (!live_.empty()) finish();
    verify();
    EXPECT_EQ(manager_.num_used(), 0);
  }

 private:
  struct Live {
    std::vector<int32_t> tokens;
    int64_t computed = 0;
    BlockTable table;
  };
  static uint64_t prefix_hash(const std::vector<int32_t>& tokens, int64_t n) {
    uint64_t h = 0x9E3779B97F4A7C15u;
    for (int64_t i = 0; i < n; ++i) h = (h ^ static_cast<uint64_t>(tokens[static_cast<size_t>(i)] + 1)) * 0xD1342543DE82EF95u;
    return h;
  }
  uint64_t& slot(int32_t block, int64_t row) { return slots_[static_cast<size_t>(block * kKeyBlock + row)]; }
  void apply() {
    for (const BlockCopy& copy : copies_)
      for (int64_t row = 0; row < kKeyBlock; ++row) slot(copy.to, row) = slot(copy.from, row);
    copies_.clear();
  }
  void start() {
    Live live;
    int32_t token = static_cast<int32_t>(rng_.next_below(2));
    for (uint64_t n = 1 + rng_.next_below(300); n-- > 0;) {
      if (rng_.next_below(60) == 0) token = static_cast<int32_t>(rng_.next_below(3));
      live.tokens.push_back(token);
    }
    live.computed = manager_.adopt(
        live.table, manager_.find(live.table, live.tokens, static_cast<int64_t>(live.tokens.size()) - 1), copies_);
    apply();
    live_.push_back(std::move(live));
  }
  void extend() {
    if (live_.empty()) return;
    Live& live = live_[rng_.next_below(live_.size())];
    if (live.computed == static_cast<int64_t>(live.tokens.size()))
      for (uint64_t n = 1 + rng_.next_below(8); n-- > 0;) live.tokens.push_back(static_cast<int32_t>(rng_.next_below(3)));
    const int64_t want = std::min<int64_t>(static_cast<int64_t>(live.tokens.size()),
                                           live.computed + 1 + static_cast<int64_t>(rng_.next_below(100)));
    const int64_t end = manager_.reserve(live.table, live.computed, want, copies_);
    apply();
    EXPECT_TRUE(end == want || manager_.num_available() == 0);
    for (int64_t p = live.computed; p < end; ++p)
      slot(live.table.blocks[static_cast<size_t>(p / kKeyBlock)], p % kKeyBlock) = prefix_hash(live.tokens, p + 1);
    live.computed = end;
    manager_.commit(live.table, live.tokens, live.computed, rng_.next_below(2) == 0);
  }
  void fork() {
    if (live_.empty()) return;
    Live copy;
    const Live& from = live_[rng_.next_below(live_.size())];
    copy.tokens = from.tokens;
    copy.computed = from.computed;
    manager_.fork(from.table, copy.table);
    live_.push_back(std::move(copy));
  }
  void finish() {
    if (live_.empty()) return;
    const size_t i = rng_.next_below(live_.size());
    manager_.commit(live_[i].table, live_[i].tokens, live_[i].computed, rng_.next_below(2) == 0);
    manager_.release(live_[i].table);
    live_.erase(live_.begin() + static_cast<int64_t>(i));
  }
  void verify() {
    std::vector<const BlockTable*> tables;
    for (const Live& live : live_) {
      tables.push_back(&live.table);
      uint64_t h = 0x9E3779B97F4A7C15u;
      for (int64_t p = 0; p < live.computed; ++p) {
        h = (h ^ static_cast<uint64_t>(live.tokens[static_cast<size_t>(p)] + 1)) * 0xD1342543DE82EF95u;
        ASSERT_EQ(slot(live.table.blocks[static_cast<size_t>(p / kKeyBlock)], p % kKeyBlock), h);
      }
    }
    manager_.check_invariants(tables);
  }

  Rng rng_;
  BlockManager manager_;
  std::vector<uint64_t> slots_;
  std::vector<BlockCopy> copies_;
  std::vector<Live> live_;
};

TEST(BlockManager, RandomWorkKeepsEveryRowWhereItsTableSays) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    Simulation(seed, 4 + static_cast<int64_t>(seed % 5) * 6, seed % 4 != 3).run(400);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace fathom
