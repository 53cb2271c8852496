// What the commands' files share: parsing with CLI11, common options. The commands themselves are declared in commands.h.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace fathom {

// Parses, prints help or the usage error; `done` tells that nothing is left to do (help was shown) with `code`.
struct Parsed {
  bool done = false;
  int code = 0;
};
Parsed parse_command(CLI::App& app, int argc, char** argv);
// --threads N for every command that computes.
void add_threads_option(CLI::App& app);
// "1,2,3" or "1 2 3" to ids; Error (usage) with the offending part.
std::vector<int> parse_ids(const std::string& text);

}  // namespace fathom
