// The model that a benchmark runs: a named shape or a config.json by itself, both with random weights, or one with its own.
#pragma once
#include <optional>
#include <string>

#include "bench/random_model.h"
#include "checkpoint/model_files.h"

namespace fathom {

struct BenchModel {
  ModelConfig config;
  std::optional<ModelFiles> files;  // none: random weights
  Decoder open(const Numerics& numerics, WeightFormat format) const;
};
BenchModel find_bench_model(const std::string& name);  // Error (usage) where there is none

}  // namespace fathom
