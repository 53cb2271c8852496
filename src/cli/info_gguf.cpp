#include "cli/info_gguf.h"

#include <cstdio>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/safetensors.h"

namespace fathom {
namespace {

constexpr size_t kShown = 60;  // bytes of a text

std::string shown(const GgufValue& v) {
  if (v.kind == GgufKind::kString) return "\"" + printable(v.text, kShown) + "\"";
  if (v.kind == GgufKind::kBool) return v.integer ? "true" : "false";
  if (v.kind == GgufKind::kArray) return std::to_string(v.count) + " x " + gguf_kind_name(v.element_kind);
  if (v.is_signed()) return std::to_string(static_cast<int64_t>(v.integer));
  if (v.is_integer()) return std::to_string(v.integer);
  char text[32];
  std::snprintf(text, sizeof text, "%.7g", v.real);
  return text;
}
Json to_json(const GgufValue& v) {
  if (v.kind == GgufKind::kString) return printable(v.text, 1 << 20);
  if (v.kind == GgufKind::kBool) return v.integer != 0;
  if (v.kind == GgufKind::kArray) return {{"elements", gguf_kind_name(v.element_kind)}, {"count", v.count}};
  if (v.is_signed()) return static_cast<int64_t>(v.integer);
  if (v.is_integer()) return v.integer;
  return v.real;
}

}  // namespace

int print_gguf_info(const std::string& path, bool list_tensors, bool json_output) {
  const auto opened = std::make_shared<const GgufFile>(GgufFile::open(path));
  const GgufFile& file = *opened;
  std::map<std::string, int64_t> bytes;
  int64_t elements = 0, total = 0;
  for (const auto& entry : file.entries()) {
    bytes[ggml_type_info(entry.type).name] += entry.bytes;
    elements += entry.elements();
    total += entry.bytes;
  }
  std::optional<ModelConfig> config;
  std::string unsupported;
  try {
    config = GgufModel::from_file(opened).config();
  } catch (const Error& e) {
    unsupported = e.what();
  }
  if (json_output) {
    Json json = {{"source", printable(path, 4096)},        {"format", "gguf"},     {"version", file.version()},
                 {"tensors_count", file.entries().size()}, {"elements", elements}, {"data_bytes", total}};
    json["bytes_by_dtype"] = Json::object();
    for (const auto& [name, n] : bytes) json["bytes_by_dtype"][name] = n;
    if (config) {
      const auto counts = config->count_parameters();
      json["model_type"] = config->model_type;
      json["parameters_total"] = counts.total;
      json["parameters_active"] = counts.active;
      json["parameters_mtp"] = counts.mtp;
      json["cache_bytes_per_token"] = config->cache_values_per_token() * 2;
      json["context_length"] = config->max_position_embeddings;
    } else {
      json["unsupported"] = printable(unsupported, 1000);
    }
    json["metadata"] = Json::object();
    for (const auto& [key, value] : file.metadata()) json["metadata"][key] = to_json(value);
    if (list_tensors) {
      json["tensors"] = Json::array();
      for (const auto& e : file.entries())
        json["tensors"].push_back(
            {{"name", e.name}, {"dtype", ggml_type_info(e.type).name}, {"shape", e.shape}, {"bytes", e.bytes}});
    }
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  std::printf("file         GGUF version %u: %zu tensors, %lld values, %s:", file.version(), file.entries().size(),
              static_cast<long long>(elements), format_bytes(static_cast<double>(total)).c_str());
  for (const auto& [name, n] : bytes) std::printf("  %s %s", name.c_str(), format_bytes(static_cast<double>(n)).c_str());
  std::printf("\n");
  if (config) {
    const auto counts = config->count_parameters();
    std::printf("model        %s: %lld layers, hidden size %lld, vocabulary %lld\n", config->model_type.c_str(),
                static_cast<long long>(config->num_hidden_layers), static_cast<long long>(config->hidden_size),
                static_cast<long long>(config->vocab_size));
    std::printf("parameters   %lld, active a token %lld, MTP %lld\n", static_cast<long long>(counts.total),
                static_cast<long long>(counts.active), static_cast<long long>(counts.mtp));
    std::printf("context      %lld tokens; cache %lld bytes a token in bf16\n",
                static_cast<long long>(config->max_position_embeddings),
                static_cast<long long>(config->cache_values_per_token() * 2));
  } else {
    std::printf("model        none that is supported here: %s\n", printable(unsupported, 400).c_str());
  }
  std::printf("metadata\n");
  for (const auto& [key, value] : file.metadata())
    std::printf("  %-44s %-7s %s\n", printable(key).c_str(), gguf_kind_name(value.kind), shown(value).c_str());
  if (!list_tensors) return 0;
  size_t width = 4;
  for (const auto& e : file.entries()) width = std::max(width, printable(e.name).size());
  std::printf("\n%-*s  %-8s  %-22s  %s\n", static_cast<int>(width), "name", "type", "shape", "bytes");
  for (const auto& e : file.entries())
    std::printf("%-*s  %-8s  %-22s  %lld\n", static_cast<int>(width), printable(e.name).c_str(), ggml_type_info(e.type).name,
                shape_text(e.shape).c_str(), static_cast<long long>(e.bytes));
  return 0;
}

}  // namespace fathom
