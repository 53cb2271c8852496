#include "base/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/test_folder.h"

namespace fathom {
namespace {

TEST(Machine, SaysWhatTheSystemSays) {
  EXPECT_FALSE(processor_name().empty());
  EXPECT_FALSE(host_name().empty());
  EXPECT_EQ(num_processors(), ::sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GT(memory_total_bytes(), 0);
  EXPECT_LE(memory_total_bytes(), ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE));
  EXPECT_GT(memory_available_bytes(), 0);
}

TEST(Machine, TheLowestControlGroupLimits) {
  const TestFolder root;
  const auto put = [&](const std::string& group, const std::string& file, const std::string& text) {
    make_directories(root.path() + group);
    write_file_atomic(root.path() + group + "/" + file, text);
  };
  const std::string job = "0::/slurm/job 7\n";
  EXPECT_EQ(control_group_limit(job, root.path()), 0);  // none mounted
  put("/slurm/job 7", "memory.max", "max\n");
  put("", "memory.stat", "");
  EXPECT_EQ(control_group_limit(job, root.path()), 0);
  put("/slurm", "memory.max", "8000000000\n");
  EXPECT_EQ(control_group_limit(job, root.path()), 8000000000);  // a parent's holds too
  put("/slurm/job 7", "memory.max", "3000000000\n");
  EXPECT_EQ(control_group_limit(job, root.path()), 3000000000);
  EXPECT_EQ(control_group_limit("0::/\n", root.path()), 0);
  // In a container: its own group is the root of what it sees, under the path that the host knows.
  put("", "memory.max", "5000000000\n");
  EXPECT_EQ(control_group_limit("0::/docker/gone\n", root.path()), 5000000000);
  // The first version, beside others.
  put("/memory/box", "memory.limit_in_bytes", "2000000000\n");
  EXPECT_EQ(control_group_limit("9:cpu:/\n4:memory:/box\n0::/\n", root.path()), 2000000000);
  EXPECT_EQ(control_group_limit("", root.path()), 0);
  EXPECT_EQ(control_group_limit("nonsense", root.path()), 0);
}

}  // namespace
}  // namespace fathom
