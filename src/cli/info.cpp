// fathom info: what a model directory, a bare config.json or a safetensors file holds.
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/safetensors.h"
#include "cli/command.h"
#include "cli/info_gguf.h"
#include "model/model_config.h"

namespace fathom {
namespace {

constexpr int64_t kCacheValueBytes = 2;  // bf16

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}
std::string in_words(int64_t count) {  // 671.03 B, 1.78 M, 157.0 K
  char text[32];
  const double n = static_cast<double>(count);
  if (n >= 1e9)
    std::snprintf(text, sizeof text, "%.2f B", n / 1e9);
  else if (n >= 1e4)
    std::snprintf(text, sizeof text, "%.2f M", n / 1e6);
  else if (n >= 1e3)
    std::snprintf(text, sizeof text, "%.1f K", n / 1e3);
  else
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(count));
  return text;
}

// --- what the files hold

struct TensorLine {
  std::string name, file;
  const SafetensorsFile::Entry* entry;
};
struct Contents {
  std::vector<SafetensorsFile> single;  // one file
  std::optional<SafetensorsDirectory> directory;
  std::vector<TensorLine> tensors;
  std::map<std::string, int64_t> bytes_by_dtype;
  std::map<std::string, std::string> metadata;
  int64_t elements = 0, bytes = 0;
  size_t files = 0;

  void add(const SafetensorsFile& file) {
    ++files;
    for (const auto& entry : file.entries()) {
      tensors.push_back({entry.name, file.path(), &entry});
      bytes_by_dtype[std::string(dtype_name(entry.dtype))] += entry.end - entry.begin;
      bytes += entry.end - entry.begin;
      elements += (entry.end - entry.begin) / dtype_bytes(entry.dtype);
    }
    for (const auto& [key, value] : file.metadata()) metadata.emplace(key, value);
  }
};

Json contents_to_json(const Contents& contents, bool list) {
  Json json = {{"files", contents.files},
               {"tensors_count", contents.tensors.size()},
               {"elements", contents.elements},
               {"data_bytes", contents.bytes}};
  json["bytes_by_dtype"] = Json::object();
  for (const auto& [dtype, bytes] : contents.bytes_by_dtype) json["bytes_by_dtype"][dtype] = bytes;
  json["metadata"] = Json::object();
  for (const auto& [key, value] : contents.metadata) json["metadata"][key] = value;
  if (list) {
    json["tensors"] = Json::array();
    for (const auto& t : contents.tensors)
      json["tensors"].push_back({{"name", t.name},
                                 {"dtype", dtype_name(t.entry->dtype)},
                                 {"shape", t.entry->shape},
                                 {"bytes", t.entry->end - t.entry->begin},
                                 {"file", t.file}});
  }
  return json;
}
void print_contents(const Contents& contents, bool list) {
  std::printf("files        %zu with %s tensors, %s values, %s:", contents.files,
              with_commas(static_cast<int64_t>(contents.tensors.size())).c_str(), in_words(contents.elements).c_str(),
              format_bytes(static_cast<double>(contents.bytes)).c_str());
  for (const auto& [dtype, bytes] : contents.bytes_by_dtype)
    std::printf("  %s %s", dtype.c_str(), format_bytes(static_cast<double>(bytes)).c_str());
  std::printf("\n");
  for (const auto& [key, value] : contents.metadata)
    std::printf("metadata     %s = %s\n", printable(key).c_str(), printable(value).c_str());
  if (!list) return;
  size_t width = 4;
  for (const auto& t : contents.tensors) width = std::max(width, printable(t.name).size());
  std::printf("\n%-*s  %-8s  %-18s  %s\n", static_cast<int>(width), "name", "type", "shape", "bytes");
  for (const auto& t : contents.tensors)
    std::printf("%-*s  %-8s  %-18s  %s\n", static_cast<int>(width), printable(t.name).c_str(),
                std::string(dtype_name(t.entry->dtype)).c_str(), shape_text(t.entry->shape).c_str(),
                with_commas(t.entry->end - t.entry->begin).c_str());
}

// --- what the configuration says

void config_to_json(const ModelConfig& c, Json& json) {
  const ModelConfig::Counts counts = c.count_parameters();
  json["model_type"] = c.model_type;
  json["parameters_total"] = counts.total;
  json["parameters_active"] = counts.active;
  json["parameters_embedding"] = counts.embedding;
  json["parameters_mtp"] = counts.mtp;
  json["mtp_modules"] = c.num_nextn_predict_layers;
  json["cache_bytes_per_token"] = c.cache_values_per_token() * kCacheValueBytes;
  json["cache_type"] = "bf16";
  json["context_length"] = c.max_position_embeddings;
  json["layers"] = c.num_hidden_layers;
  json["hidden_size"] = c.hidden_size;
  json["vocab_size"] = c.vocab_size;
  json["attention"] = c.is_mla() ? "mla" : "gqa";
  json["routed_experts"] = c.n_routed_experts;
  json["shared_experts"] = c.n_shared_experts;
  json["experts_per_token"] = c.num_experts_per_tok;
}
void print_config(const ModelConfig& c) {
  const ModelConfig::Counts counts = c.count_parameters();
  const auto n = [](int64_t value) { return with_commas(value); };
  std::printf("model        %s: %s layers, hidden size %s, vocabulary %s\n", c.model_type.c_str(),
              n(c.num_hidden_layers).c_str(), n(c.hidden_size).c_str(), n(c.vocab_size).c_str());
  std::printf("parameters   %s (%s)\n", in_words(counts.total).c_str(), n(counts.total).c_str());
  std::printf("active       %s a token (%s), without the embedding table\n", in_words(counts.active).c_str(),
              n(counts.active).c_str());
  if (c.num_nextn_predict_layers > 0)
    std::printf("MTP          %s in %lld %s, on top of the above\n", in_words(counts.mtp).c_str(),
                static_cast<long long>(c.num_nextn_predict_layers), c.num_nextn_predict_layers == 1 ? "module" : "modules");
  if (c.is_mla())
    std::printf("attention    MLA: %s heads, latent %s + %s for positions\n", n(c.num_attention_heads).c_str(),
                n(c.kv_lora_rank).c_str(), n(c.qk_rope_head_dim).c_str());
  else
    std::printf("attention    GQA: %s query heads share %s key/value heads of %s\n", n(c.num_attention_heads).c_str(),
                n(c.num_key_value_heads).c_str(), n(c.head_dim).c_str());
  if (c.n_routed_experts > 0) {
    std::printf("experts      %s routed (%s a token", n(c.n_routed_experts).c_str(), n(c.num_experts_per_tok).c_str());
    if (c.n_group > 1) std::printf(", from %s of %s groups", n(c.topk_group).c_str(), n(c.n_group).c_str());
    std::printf(") and %s shared", n(c.n_shared_experts).c_str());
    if (c.first_k_dense_replace == 1) std::printf("; the first layer is dense");
    if (c.first_k_dense_replace > 1) std::printf("; the first %s layers are dense", n(c.first_k_dense_replace).c_str());
    std::printf("\n");
  }
  const int64_t cache = c.cache_values_per_token() * kCacheValueBytes;
  std::printf("context      %s tokens\n", n(c.max_position_embeddings).c_str());
  std::printf("cache        %s bytes a token in bf16; %s for the whole context\n", n(cache).c_str(),
              format_bytes(static_cast<double>(cache) * static_cast<double>(c.max_position_embeddings)).c_str());
}

bool starts_with_gguf(const std::string& path) {
  const auto mapped = MappedFile::open(path);
  const auto bytes = mapped->bytes();
  return bytes.size() >= 4 && std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) == "GGUF";
}

}  // namespace

int command_info(int argc, char** argv) {
  CLI::App app(
      "What a model is: parameters, cache, context; and what its files hold. A bare config.json is enough for the first part.",
      "fathom info");
  std::string target;
  bool json_output = false, list = false;
  app.add_option("TARGET", target, "model directory, config.json or FILE.safetensors")->required();
  app.add_flag("--tensors", list, "list every tensor");
  app.add_flag("--json", json_output, "one JSON object on stdout");
  if (const Parsed parsed = parse_command(app, argc, argv); parsed.done) return parsed.code;

  std::optional<ModelConfig> config;
  Contents contents;
  if (is_directory(target)) {
    if (file_exists(target + "/config.json")) config = ModelConfig::from_file(target + "/config.json");
    if (file_exists(target + "/model.safetensors") || file_exists(target + "/model.safetensors.index.json")) {
      contents.directory = SafetensorsDirectory::open(target);
      for (const auto& file : contents.directory->files()) contents.add(*file);
    }
    if (!config && contents.files == 0)
      fail_usage("info", "'" + target + "' holds neither config.json nor model.safetensors; is it a model directory?");
  } else if (ends_with(target, ".json")) {
    config = ModelConfig::from_file(target);
  } else if (ends_with(target, ".gguf") || starts_with_gguf(target)) {
    if (!file_exists(target)) fail_usage("info", "'" + target + "': no such file");
    return print_gguf_info(target, list, json_output);
  } else {
    contents.single.push_back(SafetensorsFile::open(target));
    contents.add(contents.single.back());
  }

  if (json_output) {
    Json json = {{"source", printable(target, 4096)}};
    if (config) config_to_json(*config, json);
    if (contents.files > 0) json.update(contents_to_json(contents, list));
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  if (config) print_config(*config);
  if (contents.files > 0) print_contents(contents, list);
  return 0;
}

}  // namespace fathom
