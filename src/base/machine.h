// The machine that the program runs on, as the system's files describe it.
#pragma once
#include <cstdint>
#include <string>

namespace fathom {

std::string processor_name();  // "unknown" where /proc/cpuinfo does not say
std::string host_name();
int num_processors();    // online
int64_t caches_bytes();  // of all processors' caches from level 2 on, each counted once; 0 where unknown
// What programs here may use together: the machine's memory, or the limit of this process's control group (a container, a
// job) where that is lower. 0 where neither is known.
int64_t memory_total_bytes();
int64_t memory_available_bytes();  // free now, as the kernel estimates it
// The lowest memory limit from a process's control groups up to their roots, of both versions of control groups; 0: none is
// set. groups: the text of /proc/PID/cgroup; root: where control groups are mounted.
int64_t control_group_limit(const std::string& groups, const std::string& root);

}  // namespace fathom
