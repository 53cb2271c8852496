#include "checkpoint/hf_directory.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_load.h"
#include "checkpoint/safetensors.h"

namespace fathom {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// "'a', 'b' and 5 more"
std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i ? ", '" : "'") + printable(names[i]) + "'";
  return names.size() > 3 ? text + " and " + std::to_string(names.size() - 3) + " more" : text;
}

// Tensors that a published file may hold twice: the tied head, and the MTP layer's copies of embedding and head
// (architecture.md §2.1). Returns the name of the original, "" where it is no such copy.
std::string original_of(const std::string& name, const ModelConfig& config) {
  const std::string embedding = "model.embed_tokens.weight", head = config.tie_word_embeddings ? embedding : "lm_head.weight";
  if (name == "lm_head.weight" && config.tie_word_embeddings) return embedding;
  for (int64_t i = 0; i < config.num_nextn_predict_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(config.num_hidden_layers + i);
    if (name == layer + ".embed_tokens.weight") return embedding;
    if (name == layer + ".shared_head.head.weight") return head;
  }
  return "";
}

void check_type_and_shape(const NamedTensor& wanted, const SafetensorsDirectory::Located& found) {
  const auto& entry = *found.entry;
  const std::string where = "tensor '" + wanted.name + "' in " + found.file->path();
  if (entry.dtype == DType::kF8E4M3)
    fail_usage("checkpoint",
               where + " is F8_E4M3 (DeepSeek's FP8 blocks), which is not read yet; use a checkpoint in BF16, F16 or F32");
  if (entry.dtype != DType::kF32 && entry.dtype != DType::kBF16 && entry.dtype != DType::kF16)
    fail_usage("checkpoint", where + " has type " + std::string(dtype_name(entry.dtype)) + "; expected is BF16, F16 or F32");
  const auto dims = wanted.value.shape().dims();
  if (!std::equal(dims.begin(), dims.end(), entry.shape.begin(), entry.shape.end()))
    fail_usage("checkpoint",
               where + " has shape " + shape_text(entry.shape) + "; config.json expects " + wanted.value.shape().str());
}

void check_copy(const std::string& name, const SafetensorsDirectory::Located& copy, const std::string& original,
                const std::map<std::string, SafetensorsDirectory::Located>& tensors) {
  const auto it = tensors.find(original);
  if (it == tensors.end()) return;  // named as missing elsewhere
  const auto &a = *copy.entry, &b = *it->second.entry;
  const bool same = a.dtype == b.dtype && a.shape == b.shape && a.end - a.begin == b.end - b.begin &&
                    std::memcmp(copy.tensor().raw(), it->second.tensor().raw(), static_cast<size_t>(a.end - a.begin)) == 0;
  if (!same)
    fail_usage(
        "checkpoint",
        "tensor '" + name + "' in " + copy.file->path() + " differs from '" + original +
            "', whose copy it must be by config.json (tie_word_embeddings, MTP); weights that differ are not supported here");
}

void read_tensor(Tensor to, const Tensor& from) {
  if (from.dtype() == DType::kF16 && to.dtype() != DType::kF32) return to.copy_from(from.to(DType::kF32));
  to.copy_from(from);
}

void check_memory(const ModelConfig& config, DType dtype, const std::string& directory) {
  const auto counts = config.count_parameters();
  const double need = static_cast<double>(counts.total + counts.mtp) * static_cast<double>(dtype_bytes(dtype));
  const double have = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (have > 0 && need > have)
    fail("checkpoint", "the weights of '" + directory + "' need " + format_bytes(need) + " as " +
                           std::string(dtype_name(dtype)) + ", this machine has " + format_bytes(have) +
                           " of memory; use a smaller model");
}

}  // namespace

Decoder load_model(const std::string& directory, const Numerics& numerics, bool training) {
  if (is_gguf_file(directory)) {
    if (training)
      fail_usage("checkpoint",
                 "'" + directory + "' is a GGUF file; training needs a Hugging Face directory: fathom convert makes one");
    return load_gguf_model(directory, numerics);
  }
  if (!is_directory(directory)) fail_usage("checkpoint", "'" + directory + "' is no folder; give a model directory");
  const ModelConfig config = ModelConfig::from_file(directory + "/config.json");
  const SafetensorsDirectory files = SafetensorsDirectory::open(directory);
  const auto& tensors = files.tensors();
  const DType dtype = training ? DType::kF32 : compute_dtype(numerics.compute);
  check_memory(config, dtype, directory);

  Decoder model(config, numerics);
  model.allocate(dtype);
  std::vector<NamedTensor> wanted = model.named_tensors();
  // Copies are views of their original's memory: the original is read, a copy in the file is compared.
  wanted.erase(
      std::remove_if(wanted.begin(), wanted.end(), [&](const NamedTensor& t) { return !original_of(t.name, config).empty(); }),
      wanted.end());
  std::vector<std::string> missing, superfluous;
  std::set<std::string> known;
  for (const NamedTensor& tensor : wanted) {
    known.insert(tensor.name);
    if (!tensors.count(tensor.name)) missing.push_back(tensor.name);
  }
  for (const auto& [name, located] : tensors) {
    if (known.count(name) || ends_with(name, ".rotary_emb.inv_freq")) continue;
    if (located.entry->dtype == DType::kF8E4M3 || ends_with(name, ".weight_scale_inv"))
      fail_usage("checkpoint", "'" + directory + "' holds FP8 blocks (F8_E4M3, for example with '" + printable(name) +
                                   "'), which are not read yet; use a checkpoint in BF16, F16 or F32");
    if (const std::string original = original_of(name, config); !original.empty())
      check_copy(name, located, original, tensors);
    else
      superfluous.push_back(name);
  }
  for (const NamedTensor& tensor : wanted)
    if (const auto it = tensors.find(tensor.name); it != tensors.end()) check_type_and_shape(tensor, it->second);
  if (!missing.empty())
    fail_usage("checkpoint",
               "'" + directory + "' lacks " + std::to_string(missing.size()) +
                   " tensors that config.json asks for: " + some_of(missing) +
                   (missing[0].find("layers." + std::to_string(config.num_hidden_layers) + ".") != std::string::npos
                        ? "; without MTP weights set num_nextn_predict_layers to 0"
                        : ""));
  if (!superfluous.empty())
    fail_usage("checkpoint", "'" + directory + "' holds " + std::to_string(superfluous.size()) +
                                 " tensors that config.json knows nothing of: " + some_of(superfluous) +
                                 "; does config.json belong to these files?");

  parallel_for(static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      read_tensor(wanted[static_cast<size_t>(i)].value, tensors.at(wanted[static_cast<size_t>(i)].name).tensor());
  });
  model.prepack();
  if (!training) model.drop_values_after_prepack();
  return model;
}

void save_model(Decoder& model, const std::string& directory, DType dtype, const std::string& tokenizer_directory) {
  ModelConfig config = model.config();
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  config.torch_dtype = dtype == DType::kF32 ? "float32" : "bfloat16";

  std::vector<SafetensorsItem> items;
  for (const NamedTensor& tensor : model.named_tensors()) {
    CHECK(tensor.value.defined());
    // The router's bias is small beside its differences: it stays F32, as published.
    items.push_back({tensor.name, tensor.value, ends_with(tensor.name, "e_score_correction_bias") ? DType::kF32 : dtype});
  }
  write_safetensors(directory + "/model.safetensors", items, {{"format", "pt"}});
  write_file_atomic(directory + "/config.json", config.to_json_text());

  const bool copy = !tokenizer_directory.empty() && tokenizer_directory != directory;
  if (copy)
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                             "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"})
      if (file_exists(tokenizer_directory + "/" + name))
        write_file_atomic(directory + "/" + name, read_file(tokenizer_directory + "/" + name));
  if (copy && file_exists(tokenizer_directory + "/generation_config.json")) {
    write_file_atomic(directory + "/generation_config.json", read_file(tokenizer_directory + "/generation_config.json"));
    return;
  }
  Json generation = Json::object();
  if (config.bos_token_id >= 0) generation["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_ids.size() == 1) generation["eos_token_id"] = config.eos_token_ids[0];
  if (config.eos_token_ids.size() > 1) generation["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id >= 0) generation["pad_token_id"] = config.pad_token_id;
  write_file_atomic(directory + "/generation_config.json", generation.dump(2) + "\n");
}

}  // namespace fathom
