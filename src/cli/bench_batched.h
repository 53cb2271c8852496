// fathom bench batched and share: their options and tables.
#pragma once
#include <vector>

#include "bench/batched_bench.h"
#include "bench/share_bench.h"
#include "cli/bench_model.h"
#include "cli/command_line.h"

namespace fathom {

struct BenchBatchedCommand {
  void add(CommandLine& command);  // both subcommands
  bool parsed() const { return batched_->parsed() || share_->parsed(); }
  int run() const { return batched_->parsed() ? run_batched() : run_share(); }

 private:
  int run_batched() const;
  int run_share() const;

  BenchModelOptions model_;
  std::vector<int64_t> batches_ = {1, 4, 16, 64};
  BatchedBenchOptions options_;
  ShareBenchOptions share_options_;
  bool json_ = false, profile_ = false, no_compare_ = false;
  CommandLine *batched_ = nullptr, *share_ = nullptr;
};

}  // namespace fathom
