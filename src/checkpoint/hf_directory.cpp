#include "checkpoint/hf_directory.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/generation_config.h"
#include "checkpoint/gguf_load.h"
#include "checkpoint/packed_cache.h"
#include "checkpoint/published_tensors.h"
#include "checkpoint/quantized_weight.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/stored_weights.h"

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

void check_type_and_shape(const NamedTensor& wanted, const SafetensorsDirectory::Located& found) {
  const auto& entry = *found.entry;
  const std::string where = "tensor '" + wanted.name + "' in " + found.file->path();
  const bool quantised = (entry.dtype == DType::kF8E4M3 || entry.dtype == DType::kI8) && wanted.owner != nullptr;
  if (!quantised && entry.dtype != DType::kF32 && entry.dtype != DType::kBF16 && entry.dtype != DType::kF16)
    fail_usage("checkpoint", where + " has type " + std::string(dtype_name(entry.dtype)) + "; expected is BF16, F16 or F32" +
                                 (wanted.owner ? " (or F8_E4M3 with weight_scale_inv, I8 with weight_scale)" : ""));
  const auto dims = wanted.shape.dims();
  if (!std::equal(dims.begin(), dims.end(), entry.shape.begin(), entry.shape.end()))
    fail_usage("checkpoint", where + " has shape " + shape_text(entry.shape) + "; config.json expects " + wanted.shape.str());
}

void check_shape(const NamedTensor& wanted, const QuantizedWeight& found) {
  const std::string where = "tensor '" + found.tensors()[0] + "' in " + found.file();
  if (!wanted.owner)
    fail_usage("checkpoint",
               where + " is quantised, but '" + wanted.name + "' is no linear layer's weight; expected is BF16, F16 or F32");
  const auto dims = wanted.shape.dims();
  if (!std::equal(dims.begin(), dims.end(), found.shape().begin(), found.shape().end()))
    fail_usage("checkpoint",
               where + " is a weight of shape " + shape_text(found.shape()) + "; config.json expects " + wanted.shape.str());
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

void check_memory(Decoder& model, DType dtype, const std::string& directory) {
  double need = 0;
  for (const Parameter* p : model.parameters()) {
    if (p->stored.empty()) need += static_cast<double>(p->shape.numel() * dtype_bytes(dtype));
    for (const WeightPart& part : p->stored)
      need += part.format() == WeightFormat::kPlain ? static_cast<double>(part.values.numel() * dtype_bytes(dtype))
                                                    : 1.03 * static_cast<double>(part.values.bytes());
  }
  const double have = static_cast<double>(memory_total_bytes());
  if (have > 0 && need > have)
    fail("checkpoint", "the weights of '" + directory + "' need " + format_bytes(need) + " as " +
                           std::string(dtype_name(dtype)) + ", this machine has " + format_bytes(have) +
                           " of memory for it; use a smaller model (`fathom info` shows what would fit)");
}

using Located = SafetensorsDirectory::Located;

// The parts of one Parameter are computed together: either all are in FP8 blocks, or none.
void check_kinds(const std::vector<NamedTensor>& wanted, const SafetensorsDirectory& files) {
  std::map<const Parameter*, const NamedTensor*> in_blocks;
  const auto type = [&](const NamedTensor& t) {  // where it stands under its own name
    const auto found = files.tensors().find(t.name);
    return found == files.tensors().end() ? DType::kI32 : found->second.entry->dtype;
  };
  for (const NamedTensor& t : wanted)
    if (t.owner && type(t) == DType::kF8E4M3) in_blocks.emplace(t.owner, &t);
  for (const NamedTensor& t : wanted)
    if (const auto it = in_blocks.find(t.owner); it != in_blocks.end() && type(t) != DType::kF8E4M3)
      fail_usage("checkpoint", "tensor '" + t.name + "' in " + files.tensors().at(it->second->name).file->path() +
                                   " has type " + std::string(dtype_name(type(t))) + ", but '" + it->second->name +
                                   "', which is computed together with it, is F8_E4M3; both must be of one kind");
}

// kv_b_proj as MLA's absorbed formula computes on it, two parts a head (Parameter::stored): the keys' transpose, across which
// scales of rows would lie, so that its values are written out as `dtype`; the values' rows as they are.
std::vector<WeightPart> absorbed_parts(const QuantizedWeight& weight, const ModelConfig& config, DType dtype) {
  const int64_t nope = config.qk_nope_head_dim, v = config.v_head_dim, latent = config.kv_lora_rank;
  const WeightPart whole = weight.part();
  std::vector<float> keys(static_cast<size_t>(nope * latent));
  std::vector<WeightPart> parts;
  for (int64_t h = 0; h < config.num_attention_heads; ++h) {
    const int64_t begin = h * (nope + v), middle = begin + nope, end = middle + v;
    weight.read_rows(begin, middle, keys.data());
    Tensor turned = Tensor::empty({latent, nope}, DType::kF32);
    for (int64_t l = 0; l < latent; ++l)
      for (int64_t i = 0; i < nope; ++i) turned.row<float>(l)[i] = keys[static_cast<size_t>(i * latent + l)];
    WeightPart uk, uv = whole;
    uk.values = turned.to(dtype);
    uv.values = whole.values.slice_rows(middle, end), uv.scales = whole.scales.slice_rows(middle, end);
    parts.push_back(std::move(uk)), parts.push_back(std::move(uv));
  }
  return parts;
}

Decoder read_directory(const ModelFiles& model_files, const Numerics& numerics, bool training) {
  const std::string& directory = model_files.path();
  const ModelConfig& config = model_files.config();
  const SafetensorsDirectory& files = model_files.tensors();
  const auto& tensors = files.tensors();
  const DType dtype = training ? DType::kF32 : compute_dtype(numerics.compute);
  check_quantization(config, directory);
  Decoder model(config, numerics);
  // All is checked before memory is asked for.
  const std::vector<NamedTensor> expected = original_tensors(model);
  std::vector<std::string> missing, superfluous;
  std::set<std::string> known;
  for (const NamedTensor& tensor : expected) {
    known.insert(tensor.name);
    const auto it = tensors.find(tensor.name);
    if (it != tensors.end()) check_type_and_shape(tensor, it->second);
    const auto quantised = QuantizedWeight::find(files, config, tensor.name);
    if (!quantised) {
      if (it == tensors.end()) missing.push_back(tensor.name);
      continue;
    }
    check_shape(tensor, *quantised);
    if (training)
      fail_usage("checkpoint", "tensor '" + tensor.name + "' in '" + directory + "' is in " +
                                   (quantised->format() == WeightFormat::kFp8Block ? "FP8 blocks" : "integers with scales") +
                                   ", which are for inference; `fathom convert " + directory +
                                   " OUT --to hf --dtype bf16` makes a directory to train from");
    for (const std::string& name : quantised->tensors()) known.insert(name);
  }
  if (!missing.empty())
    fail_usage("checkpoint", "'" + directory + "' lacks " + std::to_string(missing.size()) +
                                 " tensors that config.json asks for: " + some_of(missing));
  check_kinds(expected, files);
  if (!training)
    attach_stored_weights(model, expected, [&](const NamedTensor& t) -> std::vector<WeightPart> {
      if (const auto quantised = QuantizedWeight::find(files, config, t.name)) {
        const bool turned = quantised->format() != WeightFormat::kFp8Block && numerics.mla == MlaFormula::kAbsorbed &&
                            t.name.ends_with(".kv_b_proj.weight");
        return turned ? absorbed_parts(*quantised, config, dtype) : std::vector<WeightPart>{quantised->part()};
      }
      WeightPart part;
      part.values = tensors.at(t.name).tensor();
      return {part};
    });
  for (const auto& [name, located] : tensors) {
    if (known.count(name) || ends_with(name, ".rotary_emb.inv_freq")) continue;
    const std::string scaled = QuantizedWeight::part_of(name);  // what belongs to a copy is a copy
    if (const std::string original = published_original(scaled.empty() ? name : scaled, config);
        !original.empty() && !scaled.empty())
      check_copy(name, located, original + name.substr(scaled.size()), tensors);
    else if (!original.empty())
      check_copy(name, located, original, tensors);
    else
      superfluous.push_back(name);
  }
  if (!superfluous.empty())
    fail_usage("checkpoint", "'" + directory + "' holds " + std::to_string(superfluous.size()) +
                                 " tensors that config.json knows nothing of: " + some_of(superfluous) +
                                 "; does config.json belong to these files?");
  check_memory(model, dtype, directory);
  model.allocate(dtype);
  const std::vector<NamedTensor> wanted = original_tensors(model);

  parallel_for(static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const NamedTensor& tensor = wanted[static_cast<size_t>(i)];
      if (tensor.value.defined()) read_tensor(tensor.value, tensors.at(tensor.name).tensor());
    }
  });
  return model;
}

// False, and a line that says why, where the cache cannot be used.
bool pack_from_cache(Decoder& model, const std::string& path, const PackedIdentity& identity) {
  try {
    PackedReader reader(path, identity);
    model.prepack(&reader);
    reader.check_end();
    return true;
  } catch (const Error& e) {
    log_warning(std::string(e.what()) + "; it is written anew");
    return false;
  }
}
void write_cache(const PackedWriter& writer, const std::string& path, const PackedIdentity& identity) {
  try {
    writer.write(path, identity);
    log_info("packed weights are kept in '" + printable(path) + "'");
  } catch (const Error& e) {
    log_warning(std::string(e.what()) + "; the packed weights are not kept");
  }
}

}  // namespace

Decoder load_model(const ModelFiles& files, const Numerics& numerics, bool training, LoadTimes* times,
                   const std::string& packed_cache) {
  const double start = now_seconds();
  CHECK(!training || packed_cache.empty());
  if (files.is_gguf() && training)
    fail_usage("checkpoint",
               "'" + files.path() + "' is a GGUF file; training needs a Hugging Face directory: fathom convert makes one");
  if (training && numerics.activations != Activations::k16Bit)
    fail_usage("checkpoint", "training computes on 16-bit activations; --activations int8 is for inference");
  const auto read = [&] {
    return files.is_gguf() ? read_gguf_model(files.gguf(), numerics) : read_directory(files, numerics, training);
  };
  std::optional<Decoder> model(read());
  if (numerics.activations == Activations::kInt8)
    log_info("'" + files.path() + "': linear layers multiply with int8 activations; lm_head, router and attention do not");
  double packing = now_seconds();
  if (packed_cache.empty()) {
    model->prepack();
  } else {
    const std::string path = packed_cache_path(packed_cache, files, numerics);
    const PackedIdentity identity = packed_identity(files, numerics);
    const bool there = file_exists(path);
    if (!there || !pack_from_cache(*model, path, identity)) {
      if (there) model.emplace(read());  // what was packed so far is gone
      packing = now_seconds();
      PackedWriter writer;
      model->prepack(&writer);
      write_cache(writer, path, identity);
    }
  }
  if (!training) model->drop_values_after_prepack();
  if (times) *times = {now_seconds() - start, now_seconds() - packing};
  return std::move(*model);
}

void save_model(Decoder& model, const std::string& directory, DType dtype, const std::string& tokenizer_directory,
                int64_t shard_bytes) {
  ModelConfig config = model.config();
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  config.torch_dtype = dtype == DType::kF32 ? "float32" : "bfloat16";

  std::vector<SafetensorsItem> items;
  for (const NamedTensor& tensor : model.named_tensors()) {
    CHECK(tensor.value.defined());
    // The router's bias is small beside its differences: it stays F32, as published.
    items.push_back({tensor.name, tensor.value, ends_with(tensor.name, "e_score_correction_bias") ? DType::kF32 : dtype});
  }
  write_safetensors_directory(directory, items, {{"format", "pt"}}, shard_bytes);
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
  write_file_atomic(directory + "/generation_config.json", generation_config(config).dump(2) + "\n");
}

}  // namespace fathom
