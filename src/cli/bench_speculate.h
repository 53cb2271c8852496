// fathom bench speculate: its options and its table.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "bench/speculate_bench.h"
#include "cli/bench_model.h"
#include "cli/speculation_options.h"

namespace fathom {

struct BenchSpeculateCommand {
  void add(CLI::App& app);
  bool parsed() const { return command_->parsed(); }
  int run() const;

 private:
  BenchModelOptions model_;
  std::string prompt_;
  SpeculationOptions speculation_;
  SpeculateBenchOptions options_;
  bool json_ = false;
  CLI::App* command_ = nullptr;
};

}  // namespace fathom
