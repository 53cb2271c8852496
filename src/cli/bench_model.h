// The model that a benchmark runs: a named shape or a config.json by itself, both with random weights, or one with its own;
// and the options that say which and how it computes.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"
#include "bench/random_model.h"
#include "checkpoint/model_files.h"
#include "cli/command_line.h"

namespace fathom {

constexpr int64_t kMaxBenchTokens = int64_t{1} << 24;  // that an option of a benchmark may ask for

struct BenchModel {
  ModelConfig config;
  std::optional<ModelFiles> files;  // none: random weights
  Decoder open(const Numerics& numerics, WeightFormat format) const;
};
BenchModel find_bench_model(const std::string& name);  // Error (usage) where there is none

struct BenchModelOptions {
  std::string model = "v3mini", dtype = "bf16", mla = "absorbed", weights = "plain", cache_type = "plain",
              activations = "16bit";
  void add(CommandLine& command);
  BenchModel find() const;  // checks --weights too
  Numerics numerics() const;
  WeightFormat format() const;  // Error (usage) where --weights names none
  // Opens it; prints what is measured, and on what machine, unless `quiet`.
  Decoder open(const BenchModel& source, bool quiet) const;
  Json to_json(const BenchModel& source, const Decoder& decoder) const;  // of what is measured, and on what machine
  double peak() const;  // of the linear layers' products, 10^12 operations a second
};

}  // namespace fathom
