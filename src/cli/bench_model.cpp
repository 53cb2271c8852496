#include "cli/bench_model.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "checkpoint/hf_directory.h"

namespace fathom {

Decoder BenchModel::open(const Numerics& numerics, WeightFormat format) const {
  return files ? load_model(*files, numerics, /*training=*/false) : random_model(config, numerics, format);
}

BenchModel find_bench_model(const std::string& name) {
  const auto shapes = named_shapes();
  if (std::find(shapes.begin(), shapes.end(), name) != shapes.end()) return {named_shape(name), std::nullopt};
  if (!file_exists(name) && !is_directory(name)) {
    std::string list;
    for (const std::string& shape : shapes) list += (list.empty() ? "" : ", ") + shape;
    fail_usage("bench",
               "there is no '" + printable(name) + "'; give " + list + ", a config.json, a model directory or FILE.gguf");
  }
  if (name.ends_with(".json")) return {ModelConfig::from_file(name), std::nullopt};
  ModelFiles files(name);
  ModelConfig config = files.config();
  return {std::move(config), std::move(files)};
}

}  // namespace fathom
