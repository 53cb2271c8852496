// Which processors and memory lie together (NUMA nodes), as the system's files tell: in which order threads are pinned, and
// over which nodes the pages of large memory are interleaved (docs/decisions/0022-numa.md). FATHOM_NUMA is interleave (default)
// or off, which concerns memory alone.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

// Lists as the kernel writes them: "0-3,8,10-11" are 0 1 2 3 8 10 11. Empty text is the empty list; nullopt: no such list, or
// a number above 65535.
std::optional<std::vector<int>> parse_number_list(std::string_view text);
std::string number_list(std::span<const int> numbers);  // of rising numbers

struct NumaNode {
  int id = 0;                   // the kernel's number
  std::vector<int> processors;  // rising; none: memory alone (HBM, CXL)
  int64_t memory_bytes = 0;     // 0: processors alone
};
struct NumaTopology {
  std::vector<NumaNode> nodes;  // online, rising; one, empty, where the system does not tell
  std::map<int, int> core;  // of a processor: the lowest one that shares its core (SMT); itself where it does not stand here
};
// What the system lets this process use.
struct NumaLimits {
  std::vector<int> processors = {};                             // rising: its affinity
  std::optional<std::vector<int>> memory_nodes = std::nullopt;  // of its control group; nullopt: unknown, all
  bool has_policy = false;                                      // of memory, set by its caller (numactl): that one holds
  std::vector<int> interleaved = {};                            // the nodes of that policy where it interleaves
};
struct NumaPlacement {
  std::vector<int> nodes;  // pages are interleaved over these, two or more; none: a page lies with who writes it first
  std::string reason;      // why they are not, on a machine with several nodes
};

// root: what /sys/devices/system is on a machine. Anything missing or odd there makes it one node; never an error.
NumaTopology read_numa_topology(const std::string& root);
// status: the text of /proc/self/status; nullopt where it does not say.
std::optional<std::vector<int>> allowed_memory_nodes(std::string_view status);
// The processors `allowed` (rising) in the order in which threads take them: a core's first processor before its SMT siblings,
// and among equals the nodes in turn. So the first n use all nodes alike; one node without SMT keeps its order.
std::vector<int> pinning_order(const NumaTopology& topology, std::span<const int> allowed);
// Over the nodes that have memory and processors which the process may use, or those that its caller interleaves over; `off`:
// FATHOM_NUMA=off.
NumaPlacement plan_numa_placement(const NumaTopology& topology, const NumaLimits& limits, bool off);

bool numa_off();                                // FATHOM_NUMA; throws Error (usage) for a value that it does not have
std::vector<int> allowed_processors();          // of the calling thread, rising; empty where the system does not tell
const NumaTopology& numa_topology();            // of this machine, read once
const NumaPlacement& numa_placement();          // of this process, decided once; where the kernel refuses: none, with a warning
void place_memory(void* begin, int64_t bytes);  // by numa_placement(); before the first write; `begin` at a border of pages
// Interleaves the pages of [begin, begin + bytes), which nobody wrote yet, over `nodes`. Huge pages are interleaved whole.
// Returns 0 or the system's errno: ENOSYS, EPERM (containers), EINVAL (no such memory).
int interleave_memory(void* begin, int64_t bytes, std::span<const int> nodes);
void set_numa_placement_for_test(std::optional<NumaPlacement> placement);  // nullopt: decide anew; not while others allocate

}  // namespace fathom
