// What `fathom doctor` says of NUMA nodes. Include only from .cpp files (JSON).
#pragma once
#include <string>

#include "base/json.h"
#include "base/numa.h"

namespace fathom {

// {"nodes": [{"id", "processors": "0-3,8", "memory_bytes"}], "interleaved_nodes": [ids], "not_interleaved": reason or null};
// no nodes where the system does not tell.
Json numa_report(const NumaTopology& topology, const NumaPlacement& placement);
std::string numa_text(const Json& report);   // for people: a line, and where there are several nodes one more for each
std::string numa_limit(const Json& report);  // "" where nothing limits

}  // namespace fathom
