#include "cli/doctor_numa.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
const NumaTopology two_sockets{{{0, {0, 1, 4, 5}, 64 * kGiB}, {1, {2, 3, 6, 7}, 32 * kGiB}, {2, {}, 16 * kGiB}}, {}};

TEST(DoctorNuma, OneNodeIsOneLine) {
  for (const NumaTopology& one : {NumaTopology{{{}}, {}}, NumaTopology{{{0, {0, 1}, kGiB}}, {}}}) {
    const Json report = numa_report(one, {});
    EXPECT_EQ(numa_text(report), "numa         one node\n");
    EXPECT_EQ(numa_limit(report), "");
  }
  EXPECT_EQ(numa_report({{{}}, {}}, {}).at("nodes").size(), 0u) << "nothing is known";
}

TEST(DoctorNuma, SeveralNodes) {
  const Json report = numa_report(two_sockets, {{0, 1}, ""});
  EXPECT_EQ(
      report.dump(),
      R"({"nodes":[{"id":0,"processors":"0-1,4-5","memory_bytes":68719476736},)"
      R"({"id":1,"processors":"2-3,6-7","memory_bytes":34359738368},{"id":2,"processors":"","memory_bytes":17179869184}],)"
      R"("interleaved_nodes":[0,1],"not_interleaved":null})");
  EXPECT_EQ(numa_text(report),
            "numa         3 nodes; large memory is interleaved over nodes 0-1\n"
            "  node 0      processors 0-1,4-5; 64.0 GiB\n"
            "  node 1      processors 2-3,6-7; 32.0 GiB\n"
            "  node 2      no processors; 16.0 GiB\n");
  EXPECT_EQ(numa_limit(report), "");
}

TEST(DoctorNuma, WhatKeepsThemApartIsALimit) {
  const Json report = numa_report(two_sockets, {{}, "FATHOM_NUMA=off"});
  EXPECT_EQ(report.at("not_interleaved").text(), "FATHOM_NUMA=off");
  EXPECT_TRUE(numa_text(report).starts_with("numa         3 nodes; large memory is not interleaved\n"));
  EXPECT_EQ(numa_limit(report), "large memory is not interleaved over the 3 NUMA nodes: FATHOM_NUMA=off");
}

}  // namespace
}  // namespace fathom
