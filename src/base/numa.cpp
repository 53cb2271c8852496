#include "base/numa.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace fathom {
namespace {

constexpr size_t kMostNodes = 1024;  // the kernel's own limit

std::optional<std::string> system_text(const std::string& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(in), {});
}
std::optional<std::vector<int>> system_list(const std::string& path) {
  const auto text = system_text(path);
  return text ? parse_number_list(*text) : std::nullopt;
}

// "Node 0 MemTotal:       12806356 kB"
int64_t node_memory_bytes(const std::string& path) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (const size_t at = line.find("MemTotal:"); at != std::string::npos)
      return std::max<int64_t>(0, std::atoll(line.c_str() + at + 9)) * 1024;
  return 0;
}

bool contains(std::span<const int> numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

constexpr size_t kMaskBits = 8 * sizeof(unsigned long);
using NodeMask = std::array<unsigned long, kMostNodes / kMaskBits>;

// The policy of the whole process, which only its caller can have set. A kernel that does not tell has none.
void read_policy(NumaLimits* limits) {
  int mode = MPOL_DEFAULT;
  NodeMask mask = {};
  if (::syscall(SYS_get_mempolicy, &mode, mask.data(), static_cast<unsigned long>(kMostNodes + 1), nullptr, 0ul) != 0) return;
  limits->has_policy = mode != MPOL_DEFAULT;
  if ((mode & ~MPOL_MODE_FLAGS) != MPOL_INTERLEAVE) return;
  for (size_t node = 0; node < kMostNodes; ++node)
    if (mask[node / kMaskBits] >> (node % kMaskBits) & 1) limits->interleaved.push_back(static_cast<int>(node));
}

// Whether the kernel would interleave, tried on a page.
int try_interleaving(std::span<const int> nodes) {
  const size_t bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return errno;
  const int error = interleave_memory(page, static_cast<int64_t>(bytes), nodes);
  ::munmap(page, bytes);
  return error;
}

NumaPlacement decide_placement() {
  NumaLimits limits;
  limits.processors = allowed_processors();
  if (const auto status = system_text("/proc/self/status")) limits.memory_nodes = allowed_memory_nodes(*status);
  read_policy(&limits);
  NumaPlacement placement = plan_numa_placement(numa_topology(), limits, numa_off());
  if (placement.nodes.empty()) return placement;
  if (const int error = try_interleaving(placement.nodes)) {
    placement.nodes.clear();
    placement.reason =
        std::string("the kernel refuses mbind (") + std::strerror(error) + "); a container needs the capability SYS_NICE";
    log_warning("memory is not interleaved over the NUMA nodes: " + placement.reason);
  }
  return placement;
}

// Placements are few and never destroyed: readers keep references, and statics that end may still allocate.
std::atomic<const NumaPlacement*> current_placement{nullptr};
std::atomic<bool> told_refusal{false};
std::mutex& placement_mutex() {
  static std::mutex* mutex = new std::mutex;
  return *mutex;
}

}  // namespace

std::optional<std::vector<int>> parse_number_list(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::set<int> numbers;
  const char *at = text.data(), *const end = at + text.size();
  const auto number = [&](int* value) {
    if (at == end || *at < '0' || *at > '9') return false;
    const auto [after, error] = std::from_chars(at, end, *value);
    at = after;
    return error == std::errc() && *value <= 65535;
  };
  while (at != end) {
    int first = 0;
    if (!number(&first)) return std::nullopt;
    int last = first;
    if (at != end && *at == '-' && (++at, !number(&last))) return std::nullopt;
    if (last < first) return std::nullopt;
    for (int i = first; i <= last; ++i) numbers.insert(i);
    if (at == end) break;
    if (*at++ != ',' || at == end) return std::nullopt;
  }
  return std::vector<int>(numbers.begin(), numbers.end());
}
std::string number_list(std::span<const int> numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (i > 0 ? "," : "") + std::to_string(numbers[i]);
    if (last > i) text += "-" + std::to_string(numbers[last]);
    i = last + 1;
  }
  return text;
}

NumaTopology read_numa_topology(const std::string& root) {
  NumaTopology topology;
  if (const auto online = system_list(root + "/cpu/online"))
    for (const int processor : *online) {
      const auto siblings = system_list(root + "/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list");
      if (siblings && contains(*siblings, processor)) topology.core[processor] = siblings->front();
    }
  std::set<int> seen;
  bool sound = true;
  for (const int id : system_list(root + "/node/online").value_or(std::vector<int>{})) {
    const std::string folder = root + "/node/node" + std::to_string(id);
    const auto processors = system_list(folder + "/cpulist");
    sound = sound && processors && static_cast<size_t>(id) < kMostNodes;
    if (!sound) break;
    for (const int processor : *processors) sound = sound && seen.insert(processor).second;  // of one node only
    topology.nodes.push_back({id, *processors, node_memory_bytes(folder + "/meminfo")});
  }
  if (!sound || topology.nodes.empty()) topology.nodes = {NumaNode{}};
  return topology;
}

std::optional<std::vector<int>> allowed_memory_nodes(std::string_view status) {
  constexpr std::string_view field = "\nMems_allowed_list:";
  size_t at = status.find(field);
  if (at == std::string_view::npos) return std::nullopt;
  at = std::min(status.find_first_not_of(" \t", at + field.size()), status.size());
  return parse_number_list(status.substr(at, status.find('\n', at) - at));
}

std::vector<int> pinning_order(const NumaTopology& topology, std::span<const int> allowed) {
  std::map<int, size_t> node_of;
  for (size_t n = 0; n < topology.nodes.size(); ++n)
    for (const int processor : topology.nodes[n].processors) node_of[processor] = n;
  std::map<int, int> on_core;
  std::map<std::pair<int, size_t>, int> taken;
  std::vector<std::tuple<int, int, size_t, int>> places;  // sibling of its core, turn of its node, node, processor
  for (const int processor : allowed) {
    const auto core = topology.core.find(processor);
    const auto node = node_of.find(processor);
    const size_t n = node == node_of.end() ? 0 : node->second;
    const int sibling = on_core[core == topology.core.end() ? processor : core->second]++;
    places.emplace_back(sibling, taken[{sibling, n}]++, n, processor);
  }
  std::sort(places.begin(), places.end());
  std::vector<int> order;
  for (const auto& place : places) order.push_back(std::get<3>(place));
  return order;
}

NumaPlacement plan_numa_placement(const NumaTopology& topology, const NumaLimits& limits, bool off) {
  if (topology.nodes.size() < 2) return {};
  if (limits.interleaved.size() >= 2) return {limits.interleaved, ""};
  if (limits.has_policy) return {{}, "the process was started with a memory policy (numactl)"};
  if (off) return {{}, "FATHOM_NUMA=off"};
  NumaPlacement placement;
  for (const NumaNode& node : topology.nodes) {
    const bool memory = node.memory_bytes > 0 && (!limits.memory_nodes || contains(*limits.memory_nodes, node.id));
    const bool processors = std::any_of(node.processors.begin(), node.processors.end(),
                                        [&](int processor) { return contains(limits.processors, processor); });
    if (memory && processors) placement.nodes.push_back(node.id);
  }
  if (placement.nodes.size() >= 2) return placement;
  return {{}, "fewer than two of them have both processors and memory that this process may use"};
}

bool numa_off() {
  const char* value = std::getenv("FATHOM_NUMA");
  if (!value || !*value || std::string_view(value) == "interleave") return false;
  if (std::string_view(value) == "off") return true;
  fail_usage("numa", std::string("FATHOM_NUMA is '") + value + "'; allowed: interleave, off");
}

std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> allowed;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return allowed;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor)
    if (CPU_ISSET(processor, &set)) allowed.push_back(processor);
  return allowed;
}

const NumaTopology& numa_topology() {
  static const NumaTopology* topology = new NumaTopology(read_numa_topology("/sys/devices/system"));
  return *topology;
}

const NumaPlacement& numa_placement() {
  if (const NumaPlacement* decided = current_placement.load(std::memory_order_acquire)) return *decided;
  std::lock_guard lock(placement_mutex());
  if (!current_placement.load()) current_placement.store(new NumaPlacement(decide_placement()), std::memory_order_release);
  return *current_placement.load();
}
void set_numa_placement_for_test(std::optional<NumaPlacement> placement) {
  static std::vector<std::unique_ptr<const NumaPlacement>>* kept = new std::vector<std::unique_ptr<const NumaPlacement>>;
  std::lock_guard lock(placement_mutex());
  if (placement) kept->push_back(std::make_unique<const NumaPlacement>(*std::move(placement)));
  current_placement.store(placement ? kept->back().get() : nullptr, std::memory_order_release);
  told_refusal.store(false);
}

void place_memory(void* begin, int64_t bytes) {
  const NumaPlacement& placement = numa_placement();
  if (placement.nodes.empty()) return;
  const int error = interleave_memory(begin, bytes, placement.nodes);
  if (error == 0 || told_refusal.exchange(true)) return;
  log_warning("memory is not interleaved over the NUMA nodes " + number_list(placement.nodes) + ": " + std::strerror(error));
}

int interleave_memory(void* begin, int64_t bytes, std::span<const int> nodes) {
  NodeMask mask = {};
  for (const int node : nodes) {
    if (node < 0 || static_cast<size_t>(node) >= kMostNodes) return EINVAL;
    mask[static_cast<size_t>(node) / kMaskBits] |= 1ul << (static_cast<size_t>(node) % kMaskBits);
  }
  // The kernel reads one bit less than it is told.
  const long done = ::syscall(SYS_mbind, begin, static_cast<unsigned long>(bytes), MPOL_INTERLEAVE, mask.data(),
                              static_cast<unsigned long>(kMostNodes + 1), 0u);
  return done == 0 ? 0 : errno;
}

}  // namespace fathom
