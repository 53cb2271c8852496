#include "base/numa.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/test_folder.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

using Numbers = std::vector<int>;

TEST(NumaList, ReadsAndWritesTheKernelsLists) {
  EXPECT_EQ(parse_number_list("0-3,8,10-11\n"), (Numbers{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_number_list("7"), Numbers{7});
  EXPECT_EQ(parse_number_list("\n"), Numbers{});
  EXPECT_EQ(parse_number_list(""), Numbers{});
  EXPECT_EQ(parse_number_list("5,1-2,2"), (Numbers{1, 2, 5}));
  for (const char* bad :
       {"x", "1-", "-1", "3-1", "1,,2", "1,", ",1", "1 2", "0-4294967296", "65536", "0-65536", "1-2-3", "0x1"})
    EXPECT_EQ(parse_number_list(bad), std::nullopt) << bad;
  for (const char* text : {"", "0", "0-1", "0-3,8,10-11", "1,3,5-65535"})
    EXPECT_EQ(number_list(parse_number_list(text).value()), text);
}

// A tree as below /sys/devices/system.
class NumaTree {
 public:
  void put(const std::string& path, const std::string& text) {
    make_directories((folder_ / path).substr(0, (folder_ / path).rfind('/')));
    std::ofstream(folder_ / path) << text;
  }
  void node(int id, const std::string& processors, int64_t kib) {
    const std::string name = std::to_string(id), at = "node/node" + name;
    put(at + "/cpulist", processors + "\n");
    put(at + "/meminfo",
        "\nNode " + name + " MemTotal:       " + std::to_string(kib) + " kB\nNode " + name + " MemFree:  7 kB\n");
  }
  void siblings(int processor, const std::string& list) {
    put("cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list", list + "\n");
  }
  NumaTopology read() const { return read_numa_topology(folder_.path()); }

 private:
  TestFolder folder_;
};

bool is_one_unknown_node(const NumaTopology& t) {
  return t.nodes.size() == 1 && t.nodes[0].id == 0 && t.nodes[0].processors.empty() && t.nodes[0].memory_bytes == 0;
}

Numbers up_to(int n) {
  Numbers all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}

// Two sockets of four cores with SMT, numbered as Linux does: cores 0-3, 4-7, then their siblings 8-11, 12-15.
void two_sockets_of(NumaTree& tree) {
  tree.put("node/online", "0-1\n");
  tree.node(0, "0-3,8-11", 1000);
  tree.node(1, "4-7,12-15", 2000);
  tree.put("cpu/online", "0-15\n");
  for (int i = 0; i < 16; ++i) tree.siblings(i, std::to_string(i % 8) + "," + std::to_string(i % 8 + 8));
}

TEST(NumaTopology, TwoSockets) {
  NumaTree tree;
  two_sockets_of(tree);
  const NumaTopology t = tree.read();
  ASSERT_EQ(t.nodes.size(), 2u);
  EXPECT_EQ(t.nodes[0].processors, (Numbers{0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(t.nodes[1].id, 1);
  EXPECT_EQ(t.nodes[1].memory_bytes, 2000 * 1024);
  EXPECT_EQ(t.core.at(3), 3);
  EXPECT_EQ(t.core.at(15), 7);
  EXPECT_EQ(plan_numa_placement(t, {.processors = up_to(16)}, false).nodes, (Numbers{0, 1}));
}

TEST(NumaTopology, SubNumaClustersAndMemoryAlone) {
  NumaTree tree;
  tree.put("node/online", "0-3,6\n");
  for (int id = 0; id < 4; ++id) tree.node(id, number_list(Numbers{2 * id, 2 * id + 1}), id == 2 ? 0 : 500);
  tree.node(6, "", 9000);  // HBM or CXL
  const NumaTopology t = tree.read();
  ASSERT_EQ(t.nodes.size(), 5u);
  EXPECT_EQ(t.nodes[4].id, 6);
  EXPECT_TRUE(t.nodes[4].processors.empty());
  EXPECT_TRUE(t.core.empty());
  // Memory without processors may be slow, processors without memory have none to give.
  EXPECT_EQ(plan_numa_placement(t, {.processors = up_to(8)}, false).nodes, (Numbers{0, 1, 3}));
}

TEST(NumaTopology, OfflineNodesDoNotCount) {
  NumaTree tree;
  tree.put("node/online", "0\n");
  tree.node(0, "0-3", 100);
  tree.node(1, "4-7", 100);
  const NumaTopology t = tree.read();
  ASSERT_EQ(t.nodes.size(), 1u);
  EXPECT_EQ(t.nodes[0].processors, up_to(4));
}

TEST(NumaTopology, WhatIsMissingOrOddIsOneNode) {
  EXPECT_TRUE(is_one_unknown_node(read_numa_topology("/no/such/folder")));
  for (const char* online : {"", "\n", "nonsense", "0-", "0-2", "0-70000"}) {  // 0-2: node 2 has no folder
    NumaTree tree;
    two_sockets_of(tree);
    tree.put("node/online", online);
    EXPECT_TRUE(is_one_unknown_node(tree.read())) << online;
  }
  for (const char* processors : {"4-", "4-7;", "3-7"}) {  // 3: already node 0's
    NumaTree tree;
    two_sockets_of(tree);
    tree.node(1, processors, 2000);
    const NumaTopology t = tree.read();
    EXPECT_TRUE(is_one_unknown_node(t)) << processors;
    EXPECT_EQ(t.core.at(15), 7) << "cores are known all the same";
  }
  NumaTree tree;
  two_sockets_of(tree);
  tree.put("node/node1/meminfo", "MemTotal: -5 kB");
  tree.siblings(15, "7,garbage");
  tree.siblings(14, "1-2");  // does not hold the processor itself
  const NumaTopology t = tree.read();
  EXPECT_EQ(t.nodes.at(1).memory_bytes, 0);
  EXPECT_FALSE(t.core.contains(15));
  EXPECT_FALSE(t.core.contains(14));
}

TEST(NumaTopology, ThisMachine) {
  const NumaTopology& t = numa_topology();
  ASSERT_GE(t.nodes.size(), 1u);
  const Numbers allowed = allowed_processors();
  Numbers order = pinning_order(t, allowed);
  EXPECT_EQ(order.size(), allowed.size());
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, allowed);
}

TEST(NumaOrder, OneNodeWithoutSmtKeepsItsOrder) {
  EXPECT_EQ(pinning_order({{{}}, {}}, Numbers{1, 2, 5, 6}), (Numbers{1, 2, 5, 6}));
  EXPECT_EQ(pinning_order({{{0, up_to(8), 1}}, {{1, 1}, {2, 2}}}, Numbers{1, 2, 5, 6}), (Numbers{1, 2, 5, 6}));
  EXPECT_EQ(pinning_order({{{}}, {}}, Numbers{}), Numbers{});
}

TEST(NumaOrder, CoresComeBeforeSiblings) {
  NumaTopology t{{{}}, {}};
  for (int i = 0; i < 8; ++i) t.core[i] = i / 2 * 2;  // neighbours share a core
  EXPECT_EQ(pinning_order(t, up_to(8)), (Numbers{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(pinning_order(t, Numbers{1, 2, 3, 7}), (Numbers{1, 2, 7, 3})) << "1 and 7 are alone on their cores here";
}

TEST(NumaOrder, NodesTakeTurns) {
  NumaTree tree;
  two_sockets_of(tree);
  const NumaTopology t = tree.read();
  EXPECT_EQ(pinning_order(t, up_to(16)), (Numbers{0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15}));
  EXPECT_EQ(pinning_order(t, Numbers{0, 1, 2, 3, 4, 8}), (Numbers{0, 4, 1, 2, 3, 8})) << "uneven: what is left follows";
  // A processor that no node names is counted to the first one.
  EXPECT_EQ(pinning_order(t, Numbers{0, 4, 5, 40}), (Numbers{0, 4, 40, 5}));
}

TEST(NumaOrder, WorkersArePinnedInIt) {
  const Numbers order = pinning_order(numa_topology(), allowed_processors());
  if (order.size() < 2) GTEST_SKIP() << "this process may use one processor";
  const int threads = static_cast<int>(std::min<size_t>(order.size(), 8));
  set_num_threads(1);
  set_num_threads(threads);
  std::vector<Numbers> where(static_cast<size_t>(threads));
  parallel_region([&](int thread, int) { where[static_cast<size_t>(thread)] = allowed_processors(); });
  set_num_threads(1);  // later tests fork
  EXPECT_EQ(where[0], allowed_processors()) << "the caller is not pinned";
  for (size_t i = 1; i < where.size(); ++i) EXPECT_EQ(where[i], Numbers{order[i]});
}

TEST(NumaPlacement, FollowsWhatTheProcessMayUse) {
  const NumaTopology t{{{0, {0, 1}, 100}, {1, {2, 3}, 100}, {2, {4, 5}, 100}}, {}};
  const auto plan = [&](NumaLimits limits, bool off = false) { return plan_numa_placement(t, limits, off); };
  EXPECT_EQ(plan({.processors = up_to(6)}).nodes, (Numbers{0, 1, 2}));
  EXPECT_EQ(plan({.processors = up_to(6)}).reason, "");
  EXPECT_EQ(plan({.processors = {1, 4}}).nodes, (Numbers{0, 2}));
  EXPECT_EQ(plan({.processors = up_to(6), .memory_nodes = Numbers{1, 2}}).nodes, (Numbers{1, 2}));
  for (const NumaLimits& narrow :
       {NumaLimits{.processors = {2, 3}}, NumaLimits{.processors = up_to(6), .memory_nodes = Numbers{1}},
        NumaLimits{.processors = up_to(6), .memory_nodes = Numbers{}}, NumaLimits{}}) {
    EXPECT_EQ(plan(narrow).nodes, Numbers{});
    EXPECT_NE(plan(narrow).reason.find("fewer than two"), std::string::npos);
  }
  EXPECT_EQ(plan({.processors = up_to(6)}, true).nodes, Numbers{});
  EXPECT_EQ(plan({.processors = up_to(6)}, true).reason, "FATHOM_NUMA=off");
  // numactl: its policy holds, and where it interleaves so do we, over its nodes.
  EXPECT_NE(plan({.processors = up_to(6), .has_policy = true}).reason.find("numactl"), std::string::npos);
  EXPECT_EQ(plan({.processors = up_to(2), .has_policy = true, .interleaved = {0, 2}}).nodes, (Numbers{0, 2}));
  EXPECT_EQ(plan({.processors = up_to(2), .has_policy = true, .interleaved = {2}}).nodes, Numbers{});
  // One node needs no reason.
  EXPECT_EQ(plan_numa_placement({{{0, {0, 1}, 100}}, {}}, {.processors = {0}}, true).reason, "");
}

TEST(NumaPlacement, ReadsTheAllowedNodes) {
  EXPECT_EQ(allowed_memory_nodes("Name:\tx\nMems_allowed:\t0000,0000000b\nMems_allowed_list:\t0-1,3\nvoluntary:\t1\n"),
            (Numbers{0, 1, 3}));
  EXPECT_EQ(allowed_memory_nodes("Name:\tx\nMems_allowed_list:\t2"), Numbers{2});
  EXPECT_EQ(allowed_memory_nodes("Name:\tx\nMems_allowed_list:"), Numbers{});
  EXPECT_EQ(allowed_memory_nodes("Name:\tMems_allowed_list:\t7\n"), std::nullopt) << "a process may have any name";
  EXPECT_EQ(allowed_memory_nodes("\nMems_allowed_list:\tmany\n"), std::nullopt);
  EXPECT_EQ(allowed_memory_nodes(""), std::nullopt);
}

#ifndef FATHOM_SANITIZED  // TSan does not follow threads into a forked child
TEST(NumaPlacement, TheEnvironmentChooses) {
  const auto exit_of = [](const char* value, auto&& good) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::setenv("FATHOM_NUMA", value, 1);
      ::_exit(good() ? 0 : 1);
    }
    int status = 0;
    return ::waitpid(child, &status, 0) == child && status == 0;
  };
  EXPECT_TRUE(exit_of("both", [] {
    return error_of([] { numa_off(); }) == "[numa] FATHOM_NUMA is 'both'; allowed: interleave, off" &&
           !error_of([] { numa_placement(); }).empty();
  }));
  EXPECT_TRUE(exit_of("off", [] { return numa_off() && numa_placement().nodes.empty(); }));
  EXPECT_TRUE(exit_of("interleave", [] { return !numa_off(); }));
  EXPECT_TRUE(exit_of("", [] { return !numa_off(); }));
}
#endif

int policy_at(void* address, unsigned long* mask) {
  int mode = -1;
  unsigned long nodes[16] = {};
  if (::syscall(SYS_get_mempolicy, &mode, nodes, 1025ul, address, static_cast<unsigned long>(MPOL_F_ADDR)) != 0) return -1;
  *mask = nodes[0];
  return mode;
}

TEST(NumaPlacement, TheKernelInterleaves) {
  constexpr size_t kBytes = 1 << 20;
  char* const pages =
      static_cast<char*>(::mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  const std::vector<int> first = {numa_topology().nodes[0].id};
  if (const int error = interleave_memory(pages, kBytes, first)) {
    ::munmap(pages, 2 * kBytes);
    GTEST_SKIP() << "the kernel refuses mbind: " << std::strerror(error);
  }
  unsigned long mask = 0;
  EXPECT_EQ(policy_at(pages + kBytes - 1, &mask), MPOL_INTERLEAVE);
  EXPECT_EQ(mask, 1ul << first[0]);
  std::memset(pages, 1, 2 * kBytes);
  EXPECT_EQ(interleave_memory(pages, kBytes, Numbers{-1}), EINVAL);
  EXPECT_EQ(interleave_memory(pages, kBytes, Numbers{1024}), EINVAL);
  EXPECT_NE(interleave_memory(pages, kBytes, Numbers{1023}), 0) << "this machine has no such node";
  EXPECT_NE(interleave_memory(pages, kBytes, Numbers{}), 0);
  // place_memory: nothing where there is nothing to place over, one warning where the kernel refuses.
  set_numa_placement_for_test(NumaPlacement{});
  place_memory(pages + kBytes, kBytes);
  EXPECT_EQ(policy_at(pages + kBytes, &mask), MPOL_DEFAULT);
  set_numa_placement_for_test(NumaPlacement{{1022, 1023}, ""});
  testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) place_memory(pages + kBytes, kBytes);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_NE(told.find("warning: memory is not interleaved over the NUMA nodes 1022-1023"), std::string::npos) << told;
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1) << told;
  set_numa_placement_for_test(NumaPlacement{first, ""});
  place_memory(pages + kBytes, kBytes);
  EXPECT_EQ(policy_at(pages + kBytes, &mask), MPOL_INTERLEAVE);
  set_numa_placement_for_test(std::nullopt);
  ::munmap(pages, 2 * kBytes);
}

}  // namespace
}  // namespace fathom
