// The table of commands: one file per command (cli/<name>.cpp) that parses, calls and prints. A new command is one file,
// one declaration here and one line in the table of main.cpp. Each returns the exit code: 0 done, 1 failed, 2 bad usage.
// Errors may be thrown: main catches them once. With --json: one JSON object on stdout, everything else on stderr.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace fathom {

int command_demo(int argc, char** argv);
int command_info(int argc, char** argv);
int command_doctor(int argc, char** argv);
int command_tokenizer(int argc, char** argv);
int command_train(int argc, char** argv);
int command_logits(int argc, char** argv);
int command_generate(int argc, char** argv);
int command_chat(int argc, char** argv);
int command_bench(int argc, char** argv);
int command_runs(int argc, char** argv);

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
