#include "cli/command.h"

#include "base/error.h"
#include "base/thread_pool.h"

namespace fathom {

Parsed parse_command(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);  // prints help to stdout, or the error to stderr
    return {true, code == 0 ? 0 : 2};
  }
}

void add_threads_option(CLI::App& app) {
  app.add_option_function<int>(
         "--threads", [](const int& n) { set_num_threads(n); },
         "worker threads (default: FATHOM_THREADS, OMP_NUM_THREADS, else all processors)")
      ->check(CLI::Range(1, 1024));
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
