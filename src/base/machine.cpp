#include "base/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace fathom {
namespace {

int64_t meminfo_bytes(const std::string& field) {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(field + ":", 0) == 0) return std::atoll(line.c_str() + field.size() + 1) * 1024;
  return 0;
}

}  // namespace

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}
std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}
int num_processors() { return static_cast<int>(std::max<long>(1, ::sysconf(_SC_NPROCESSORS_ONLN))); }
int64_t caches_bytes() {
  std::set<std::string> seen;
  int64_t total = 0;
  for (int cpu = 0; cpu < num_processors(); ++cpu)
    for (int index = 0; index < 8; ++index) {
      const std::string dir =
          "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index" + std::to_string(index) + "/";
      int level = 0;
      std::string size, shared;
      if (!(std::ifstream(dir + "level") >> level)) break;
      if (level < 2 || !(std::ifstream(dir + "size") >> size) || !(std::ifstream(dir + "shared_cpu_list") >> shared)) continue;
      if (seen.insert(std::to_string(level) + ":" + shared).second)
        total += std::atoll(size.c_str()) * (size.back() == 'M' ? 1 << 20 : 1 << 10);
    }
  return total;
}
int64_t control_group_limit(const std::string& groups, const std::string& root) {
  int64_t limit = 0;
  const auto walk = [&](const std::string& mount, std::string path, const char* file) {
    for (;;) {
      int64_t bytes = 0;
      std::ifstream in(mount + path + file);  // a number, or "max"
      if (in >> bytes && bytes > 0) limit = limit == 0 ? bytes : std::min(limit, bytes);
      if (path.empty()) return;
      path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  };
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) {  // "0::/path", "4:memory:/path"
    const size_t path = line.find(':', line.find(':') + 1);
    if (path == std::string::npos) continue;
    if (line.rfind("0::", 0) == 0) walk(root, line.substr(path + 1), "/memory.max");
    if (line.find(":memory:") != std::string::npos) walk(root + "/memory", line.substr(path + 1), "/memory.limit_in_bytes");
  }
  return limit;
}
int64_t memory_total_bytes() {
  std::ifstream in("/proc/self/cgroup");
  const std::string groups{std::istreambuf_iterator<char>(in), {}};
  const int64_t machine = meminfo_bytes("MemTotal"), limit = control_group_limit(groups, "/sys/fs/cgroup");
  return limit > 0 && (machine == 0 || limit < machine) ? limit : machine;
}
int64_t memory_available_bytes() { return meminfo_bytes("MemAvailable"); }

}  // namespace fathom
