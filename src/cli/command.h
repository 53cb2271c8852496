// What the commands' files share: the command line, common options. The commands themselves are declared in commands.h.
#pragma once
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/commands.h"

namespace fathom {

// --threads N for every command that computes.
void add_threads_option(CommandLine& command);
// "1,2,3" or "1 2 3" to ids; Error (usage) with the offending part.
std::vector<int> parse_ids(const std::string& text);

}  // namespace fathom
