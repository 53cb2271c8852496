#include "cli/bench_model.h"

#include <algorithm>
#include <cstdio>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/hf_directory.h"
#include "cli/model_options.h"

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

void BenchModelOptions::add(CommandLine& command) {
  command
      .add_option("--model", model,
                  "qwen1.5b, v2lite, v3mini or a config.json: random weights of that shape; or a model directory or FILE.gguf")
      .show_default();
  command.add_option("--dtype", dtype, "f32 or bf16: type of weights, activations and cache")
      .one_of({"f32", "bf16"})
      .show_default();
  command.add_option("--weights", weights, "of a random model: " + weight_format_names() + "; plain is as --dtype")
      .show_default();
  command.add_option("--mla", mla, "MLA formula: expanded or absorbed").one_of({"expanded", "absorbed"}).show_default();
  add_activations_option(command, activations);
  add_cache_type_option(command, cache_type);
}

Numerics BenchModelOptions::numerics() const {
  Numerics numerics;
  numerics.compute = dtype == "f32" ? Compute::kF32 : Compute::kBF16;
  numerics.mla = mla == "absorbed" ? MlaFormula::kAbsorbed : MlaFormula::kExpanded;
  numerics.cache = *kv_type_from_name(cache_type);
  numerics.activations = activations_from_name(activations);
  return numerics;
}

WeightFormat BenchModelOptions::format() const {
  const std::optional<WeightFormat> format = weight_format_from_name(weights);
  if (!format) fail_usage("bench", "--weights '" + printable(weights) + "' is none of " + weight_format_names());
  return *format;
}

BenchModel BenchModelOptions::find() const {
  BenchModel source = find_bench_model(model);
  if (format() != WeightFormat::kPlain && source.files)
    fail_usage("bench", "--weights is for random models; '" + printable(model) + "' has weights of its own");
  return source;
}

double BenchModelOptions::peak() const { return activations == "int8" ? int8_peak() : gemm_peak(dtype == "bf16"); }

Decoder BenchModelOptions::open(const BenchModel& source, bool quiet) const {
  const double begin = now_seconds();
  Decoder decoder = source.open(numerics(), format());
  const double load_s = now_seconds() - begin;
  if (quiet) return decoder;
  const bool int8 = activations == "int8";
  const ModelConfig::Counts counts = source.config.count_parameters();
  std::printf("isa %s, %d threads; peak %s %.3f TFLOP/s; memory %.1f GB/s\n", std::string(isa_name(isa())).c_str(),
              num_threads(), int8 ? "int8" : dtype.c_str(), peak(), memory_bandwidth() / 1e9);
  std::printf("%s: %.2f G parameters, %.2f G active; %s%s%s; ready in %.1f s\n", model.c_str(),
              static_cast<double>(counts.total) / 1e9, static_cast<double>(counts.active) / 1e9,
              decoder.numerics().identity().c_str(), weights == "plain" ? "" : (", weights " + weights).c_str(),
              int8 ? " (head and router not)" : "", load_s);
  return decoder;
}

Json BenchModelOptions::to_json(const BenchModel& source, const Decoder& decoder) const {
  const ModelConfig::Counts counts = source.config.count_parameters();
  return {{"isa", isa_name(isa())},
          {"threads", num_threads()},
          {"model", model},
          {"dtype", dtype},
          {"weights", source.files ? Json(nullptr) : Json(weights)},
          {"mla", source.config.is_mla() ? Json(mla) : Json(nullptr)},
          {"activations", activations},
          {"cache_type", cache_type},
          {"numerics", decoder.numerics().identity()},
          {"parameters", counts.total},
          {"active_parameters", counts.active},
          {"peak_tera_flops", peak()},
          {"memory_gb_per_s", memory_bandwidth() / 1e9}};
}

}  // namespace fathom
