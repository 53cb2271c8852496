#include "tensor/storage.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/numa.h"

namespace fathom {
namespace {

// Pieces of weights share chunks: nobody may write into another's, nor lose its own when neighbours go.
TEST(Storage, WeightsKeepTheirBytes) {
  std::vector<std::pair<std::shared_ptr<std::byte>, int64_t>> pieces;
  const auto add = [&](int64_t bytes) {
    const int value = static_cast<int>(pieces.size() % 251);
    pieces.emplace_back(allocate_weights(bytes), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back().first.get()) % 64, 0u);
    std::memset(pieces.back().first.get(), value, static_cast<size_t>(bytes));
  };
  const auto check = [&] {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto& [memory, bytes] = pieces[i];
      if (!memory) continue;
      for (const int64_t at : {int64_t{0}, bytes / 2, bytes - 1})
        ASSERT_EQ(static_cast<size_t>(memory.get()[at]), i % 251) << "piece " << i << " byte " << at;
    }
  };
  for (int i = 0; i < 60; ++i) add(i % 3 == 0 ? 1 << 20 : i % 3 == 1 ? 1 + i * 977 : (3 << 20) + 5);
  check();
  for (size_t i = 0; i < pieces.size(); i += 2) pieces[i].first.reset();
  for (int i = 0; i < 60; ++i) add(900000 + i);
  check();
}

#ifndef FATHOM_SANITIZED  // there the allocator's memory is used, which nobody places
// The policy of the memory at `address` (MPOL_F_ADDR); with MPOL_F_NODE too: the node on which its page lies.
int ask_policy(const void* address, unsigned long flags) {
  int answer = -1;
  return ::syscall(SYS_get_mempolicy, &answer, nullptr, 0ul, address, flags) == 0 ? answer : -errno;
}

class NumaStorage : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<int> first = {numa_topology().nodes[0].id};
    trim_storage_cache();
    const auto probe = allocate_storage(kBytes);
    if (const int error = interleave_memory(probe.get(), kBytes, first))
      GTEST_SKIP() << "the kernel refuses mbind: " << std::strerror(error);
    set_numa_placement_for_test(NumaPlacement{first, ""});
  }
  void TearDown() override {
    set_numa_placement_for_test(std::nullopt);
    trim_storage_cache();  // what was placed here
  }
  static constexpr int64_t kBytes = int64_t{4} << 20;
};

TEST_F(NumaStorage, LargeMemoryIsInterleaved) {
  trim_storage_cache();
  const auto plain = allocate_storage(kBytes), zeroed = allocate_zeroed_storage(kBytes + 5), weights = allocate_weights(kBytes);
  for (const auto& [memory, bytes] : {std::pair(plain, kBytes), {zeroed, kBytes + 5}, {weights, kBytes}})
    for (const int64_t at : {int64_t{0}, bytes / 2, bytes - 1})
      EXPECT_EQ(ask_policy(memory.get() + at, MPOL_F_ADDR), MPOL_INTERLEAVE) << at;
  // Small weights: in chunks that are. The first of them may still belong to an older one.
  std::vector<std::shared_ptr<std::byte>> small;
  for (int i = 0; i < 40; ++i) small.push_back(allocate_weights(1 << 20));
  EXPECT_EQ(ask_policy(small.back().get(), MPOL_F_ADDR), MPOL_INTERLEAVE);
}

TEST_F(NumaStorage, IsLeftAloneWhereNothingIsToBePlaced) {
  set_numa_placement_for_test(NumaPlacement{});
  trim_storage_cache();
  const auto memory = allocate_weights(kBytes);
  EXPECT_EQ(ask_policy(memory.get(), MPOL_F_ADDR), MPOL_DEFAULT);
}

TEST_F(NumaStorage, ARefusalIsAWarningAndMemoryServes) {
  set_numa_placement_for_test(NumaPlacement{{1022, 1023}, ""});
  trim_storage_cache();
  testing::internal::CaptureStderr();
  const auto a = allocate_weights(kBytes), b = allocate_weights(kBytes);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(told.find("warning: memory is not interleaved"), 0u) << told;
  EXPECT_EQ(told.find('\n'), told.size() - 1) << told;
  std::memset(a.get(), 1, kBytes);
  std::memset(b.get(), 2, kBytes);
  EXPECT_EQ(a.get()[kBytes - 1], std::byte{1});
}

TEST_F(NumaStorage, PagesLieOnAllNodesAlike) {
  set_numa_placement_for_test(std::nullopt);
  const std::vector<int> nodes = numa_placement().nodes;
  if (nodes.empty()) GTEST_SKIP() << "one node, or no interleaving: " << numa_placement().reason;
  trim_storage_cache();
  const int64_t bytes = static_cast<int64_t>(nodes.size()) * 8 * kBytes, huge = int64_t{2} << 20;
  const auto weights = allocate_weights(bytes);
  std::memset(weights.get(), 1, static_cast<size_t>(bytes));
  std::map<int, int> pages;
  for (int64_t at = 0; at < bytes; at += 4096) ++pages[ask_policy(weights.get() + at, MPOL_F_NODE | MPOL_F_ADDR)];
  ASSERT_EQ(pages.size(), nodes.size());
  for (const int node : nodes) EXPECT_NEAR(pages[node], 8 * kBytes / 4096, 2 * huge / 4096) << "node " << node;
}
#endif

}  // namespace
}  // namespace fathom
