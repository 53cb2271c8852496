// fathom bench speculate: its options and its table.
#pragma once
#include <string>

#include "bench/speculate_bench.h"
#include "cli/bench_model.h"
#include "cli/command_line.h"
#include "cli/speculation_options.h"

namespace fathom {

struct BenchSpeculateCommand {
  void add(CommandLine& command);
  bool parsed() const { return command_->parsed(); }
  int run() const;

 private:
  BenchModelOptions model_;
  std::string prompt_;
  SpeculationOptions speculation_;
  SpeculateBenchOptions options_;
  bool json_ = false;
  CommandLine* command_ = nullptr;
};

}  // namespace fathom
