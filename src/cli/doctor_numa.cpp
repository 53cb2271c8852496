#include "cli/doctor_numa.h"

#include <cstdio>
#include <vector>

namespace fathom {

Json numa_report(const NumaTopology& topology, const NumaPlacement& placement) {
  Json nodes = Json::array(), interleaved = Json::array();
  for (const NumaNode& node : topology.nodes)
    if (!node.processors.empty() || node.memory_bytes > 0)
      nodes.push_back({{"id", node.id}, {"processors", number_list(node.processors)}, {"memory_bytes", node.memory_bytes}});
  for (const int id : placement.nodes) interleaved.push_back(id);
  return {{"nodes", nodes},
          {"interleaved_nodes", interleaved},
          {"not_interleaved", placement.reason.empty() ? Json() : Json(placement.reason)}};
}

std::string numa_text(const Json& report) {
  const Json& nodes = report.at("nodes");
  if (nodes.size() < 2) return "numa         one node\n";
  std::vector<int> ids;
  for (const Json& id : report.at("interleaved_nodes")) ids.push_back(id.get<int>());
  std::string text = "numa         " + std::to_string(nodes.size()) + " nodes; large memory is " +
                     (ids.empty() ? "not interleaved" : "interleaved over nodes " + number_list(ids)) + "\n";
  for (const Json& node : nodes) {
    const std::string& processors = node.at("processors").text();
    char head[32], size[48];
    std::snprintf(head, sizeof head, "  node %-6d", node.at("id").get<int>());
    std::snprintf(size, sizeof size, "%.1f GiB\n", static_cast<double>(node.at("memory_bytes").get<int64_t>()) / (1 << 30));
    text += head + (processors.empty() ? " no processors; " : " processors " + processors + "; ") + size;
  }
  return text;
}

std::string numa_limit(const Json& report) {
  const Json& reason = report.at("not_interleaved");
  if (reason.is_null()) return "";
  return "large memory is not interleaved over the " + std::to_string(report.at("nodes").size()) +
         " NUMA nodes: " + reason.text();
}

}  // namespace fathom
