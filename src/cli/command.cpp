#include "cli/command.h"

#include "base/error.h"
#include "base/thread_pool.h"

namespace fathom {

void add_threads_option(CommandLine& command) {
  command
      .add_integer_function(
          "--threads", [](int64_t n) { set_num_threads(static_cast<int>(n)); },
          "worker threads (default: FATHOM_THREADS, OMP_NUM_THREADS, else all processors)")
      .range(1, 1024);
}

std::vector<int> parse_ids(const std::string& text) {
  std::vector<int> ids;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = text.find_first_of(", \t\n", at);
    if (end == std::string::npos) end = text.size();
    const std::string part = text.substr(at, end - at);
    at = end + 1;
    if (part.empty()) continue;
    if (part.find_first_not_of("0123456789") != std::string::npos || part.size() > 9)
      fail_usage("cli", "'" + part + "' is no token id; give ids as 1,2,3");
    ids.push_back(std::stoi(part));
  }
  return ids;
}

}  // namespace fathom
