// fathom bench prefill, decode, depth: their options and tables.
#pragma once
#include <string>
#include <vector>

#include "cli/bench_model.h"
#include "cli/command_line.h"

namespace fathom {

struct BenchInferCommand {
  void add(CommandLine& command);  // the three subcommands
  bool parsed() const { return prefill_->parsed() || decode_->parsed() || depth_->parsed(); }
  int run() const;

 private:
  BenchModelOptions model_;
  std::string trace_;
  std::vector<int64_t> depths_ = {0, 1024, 4096};
  int64_t prefill_tokens_ = 512, decode_tokens_ = 128, at_ = 0;
  int runs_ = 3;
  bool json_ = false, profile_ = false;
  CommandLine *prefill_ = nullptr, *decode_ = nullptr, *depth_ = nullptr;
};

}  // namespace fathom
