#include "checkpoint/gguf_model.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "checkpoint/generation_config.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/f16.h"

namespace fathom {
namespace {

DType dtype_of(GgmlType type) {
  if (type == GgmlType::kF16) return DType::kF16;
  if (type == GgmlType::kBF16) return DType::kBF16;
  return DType::kF32;
}
bool is_plain(GgmlType type) { return type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16; }

void store_row(const float* from, int64_t n, Tensor& to, int64_t row) {
  std::byte* at = to.raw() + row * to.row_stride() * dtype_bytes(to.dtype());
  if (to.dtype() == DType::kF32) {
    std::memcpy(at, from, static_cast<size_t>(n) * 4);
  } else if (to.dtype() == DType::kBF16) {
    bf16* values = reinterpret_cast<bf16*>(at);
    for (int64_t i = 0; i < n; ++i) values[i] = to_bf16(from[i]);
  } else {
    CHECK(to.dtype() == DType::kF16);
    f16* values = reinterpret_cast<f16*>(at);
    for (int64_t i = 0; i < n; ++i) values[i] = to_f16(from[i]);
  }
}

// "Q4_K x84, F32 x40", most first.
std::string types_of(const GgufFile& file) {
  std::map<std::string, int> counts;
  for (const auto& entry : file.entries()) ++counts[ggml_type_info(entry.type).name];
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [name, n] : counts) order.emplace_back(-n, name);
  std::sort(order.begin(), order.end());
  std::string text;
  for (const auto& [n, name] : order) text += (text.empty() ? "" : ", ") + name + " x" + std::to_string(-n);
  return text;
}

}  // namespace

// One published tensor in the file: `main`, or keys and values.
struct GgufModel::Source {
  const GgufFile::Entry *main = nullptr, *keys = nullptr, *values = nullptr;
  int64_t first_row = 0;     // of the slice in main
  int64_t permuted_dim = 0;  // > 0: size of the heads whose rows are permuted
  GgmlType type() const { return main ? main->type : keys->type; }
};

GgufModel::Source GgufModel::source_of(const std::string& published) const {
  const auto it = by_name_.find(published);
  CHECK(it != by_name_.end());
  const PublishedTensor& tensor = tensors_[it->second];
  const GgufPlace place = gguf_place(config_, published);
  Source source;
  source.main = file_->find(place.tensor);
  if (!source.main && place.is_kv_b()) {
    source.keys = file_->find(place.key_tensor);
    source.values = file_->find(place.value_tensor);
  }
  if (place.expert >= 0) source.first_row = place.expert * tensor.shape[0];
  if (place.permuted_heads > 0) source.permuted_dim = tensor.shape[0] / place.permuted_heads;
  return source;
}

GgufModel GgufModel::open(const std::string& path) { return from_file(std::make_shared<const GgufFile>(GgufFile::open(path))); }

GgufModel GgufModel::from_file(std::shared_ptr<const GgufFile> file) {
  GgufModel model;
  model.file_ = std::move(file);
  const GgufFile& f = *model.file_;
  if (f.integer("split.count").value_or(1) > static_cast<int64_t>(f.num_parts()))
    f.refuse("split.count", "the model is split over several files, and this is one of them");
  model.config_ = config_from_gguf(f);
  // The published config.json rides along; it counts where all that GGUF says of it is still as it was written.
  if (const auto text = f.text("fathom.config")) {
    ModelConfig told = ModelConfig::from_json_text(*text, f.path() + ", fathom.config");
    told.torch_dtype = model.config_.torch_dtype;
    bool same = told.tie_word_embeddings == model.config_.tie_word_embeddings && told.vocab_size == model.config_.vocab_size &&
                told.model_type == model.config_.model_type &&
                told.num_nextn_predict_layers == model.config_.num_nextn_predict_layers;
    const GgufMetadata written = gguf_config_metadata(told);
    for (const auto& [key, value] : written.pairs()) {
      const GgufValue* here = f.value(key);
      same = same && here && encoded_value(*here) == value;
    }
    if (same) {
      model.config_ = told;
      model.config_json_ = *text;
    } else {
      log_warning("'" + f.path() +
                  "': fathom.config (the config.json that the file was made from) disagrees with the file's "
                  "other metadata and is ignored");
    }
  }
  if (model.config_json_.empty()) model.config_json_ = model.config_.to_json_text();

  // Before anything is listed: no more layers or experts than the file could hold.
  const ModelConfig& c = model.config_;
  if (c.num_hidden_layers + c.num_nextn_predict_layers > static_cast<int64_t>(f.entries().size()))
    f.refuse("block_count", std::to_string(c.num_hidden_layers) + " layers, but the file has " +
                                std::to_string(f.entries().size()) + " tensors");
  for (int64_t l = 0; l < c.num_hidden_layers + c.num_nextn_predict_layers; ++l) {
    if (!c.is_moe_layer(l)) continue;
    const std::string name = "blk." + std::to_string(l) + ".ffn_gate_exps.weight";
    const auto* experts = f.find(name);
    if (!experts) f.refuse("tensor '" + name + "'", "is missing");
    if (experts->shape.size() != 3 || experts->shape[0] != c.n_routed_experts)
      f.refuse("tensor '" + name + "'", "does not hold expert_count " + std::to_string(c.n_routed_experts) + " experts");
  }
  model.tensors_ = published_tensors(c);
  std::set<std::string> used = {"rope_freqs.weight"};
  const auto check = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const auto* entry = f.find(name);
    if (!entry) f.refuse("tensor '" + name + "'", "is missing; the metadata asks for it");
    if (entry->shape.size() != shape.size())
      f.refuse("tensor '" + name + "', n_dims",
               std::to_string(entry->shape.size()) + " where the metadata asks for " + std::to_string(shape.size()));
    for (size_t i = 0; i < shape.size(); ++i)
      if (entry->shape[i] != shape[i])
        f.refuse("tensor '" + name + "', dims",
                 std::to_string(entry->shape[i]) + " where the metadata asks for " + std::to_string(shape[i]));
    if (!ggml_type_info(entry->type).real)
      f.refuse("tensor '" + name + "', type", std::string(ggml_type_info(entry->type).name) + " is no type of weights");
    used.insert(name);
  };
  for (size_t i = 0; i < model.tensors_.size(); ++i) {
    const PublishedTensor& tensor = model.tensors_[i];
    const GgufPlace place = gguf_place(c, tensor.name);
    model.by_name_[tensor.name] = i;
    if (place.expert > 0) continue;  // checked with the first expert
    std::vector<int64_t> shape = tensor.shape;
    if (place.expert == 0) shape.insert(shape.begin(), c.n_routed_experts);
    if (place.is_kv_b()) {  // files of a time of change hold both forms
      const bool split = f.find(place.key_tensor) != nullptr;
      if (split) {
        check(place.key_tensor, {c.num_attention_heads, c.kv_lora_rank, c.qk_nope_head_dim});
        check(place.value_tensor, {c.num_attention_heads, c.v_head_dim, c.kv_lora_rank});
      }
      if (!split || f.find(place.tensor)) check(place.tensor, shape);
      continue;
    }
    // Copies of embedding and head in the MTP layer may be left out: the originals serve.
    if (!f.find(place.tensor) && !published_original(tensor.name, c).empty()) continue;
    check(place.tensor, shape);
  }
  for (const auto& entry : f.entries())
    if (!used.count(entry.name)) f.refuse("tensor '" + printable(entry.name) + "'", "is none that the metadata knows of");
  model.tensors_.erase(std::remove_if(model.tensors_.begin(), model.tensors_.end(),
                                      [&](const PublishedTensor& t) {
                                        const GgufPlace place = gguf_place(c, t.name);
                                        return !place.is_kv_b() && !f.find(place.tensor);
                                      }),
                       model.tensors_.end());
  model.by_name_.clear();
  for (size_t i = 0; i < model.tensors_.size(); ++i) model.by_name_[model.tensors_[i].name] = i;
  return model;
}

GgmlType GgufModel::stored_type(const std::string& published) const { return source_of(published).type(); }
bool GgufModel::is_stored_plain(const std::string& published) const {
  const Source source = source_of(published);
  return source.main && is_plain(source.main->type) && source.permuted_dim == 0;
}
std::vector<WeightPart> GgufModel::stored_parts(const std::string& published, bool absorbed) const {
  const Source source = source_of(published);
  const PublishedTensor& tensor = tensors_[by_name_.at(published)];
  // Rows [begin, begin + rows) of a tensor, each k values.
  const auto view = [&](const GgufFile::Entry& entry, int64_t begin, int64_t rows, int64_t k) {
    const int64_t bytes = entry.row_bytes();
    std::byte* at = const_cast<std::byte*>(file_->data(entry)) + begin * bytes;
    WeightPart part;
    part.type = entry.type;
    if (is_plain(entry.type))
      part.values = Tensor::wrap(at, {rows, k}, dtype_of(entry.type), file_->lend(entry, at, rows * bytes));
    else
      part.values = Tensor::wrap(at, {rows, bytes}, DType::kU8, file_->lend(entry, at, rows * bytes));
    return part;
  };
  const auto computed_on = [&](GgmlType type) { return is_plain(type) || format_of(type) != WeightFormat::kPlain; };
  if (!source.main) {
    if (!absorbed || !computed_on(source.keys->type) || !computed_on(source.values->type)) return {};
    const int64_t latent = config_.kv_lora_rank, nope = config_.qk_nope_head_dim, v = config_.v_head_dim;
    std::vector<WeightPart> parts;
    for (int64_t h = 0; h < config_.num_attention_heads; ++h) {
      parts.push_back(view(*source.keys, h * latent, latent, nope));
      parts.push_back(view(*source.values, h * v, v, latent));
    }
    return parts;
  }
  const GgmlType type = source.main->type;
  if (is_plain(type) && !is_stored_plain(published)) return {};
  if (is_plain(type)) {
    WeightPart part;
    part.values = read(published);
    return {part};
  }
  const bool table = published == "model.embed_tokens.weight" && !config_.tie_word_embeddings;
  const bool kv_b = gguf_place(config_, published).is_kv_b();
  if ((!table && !computed_on(type)) || (kv_b && absorbed)) return {};
  WeightPart part = view(*source.main, source.first_row, tensor.shape[0], tensor.shape[1]);
  if (source.permuted_dim > 0) {
    Tensor ordered = Tensor::empty(part.values.shape(), DType::kU8);
    for (int64_t r = 0; r < tensor.shape[0]; ++r)
      ordered.slice_rows(r, r + 1).copy_from(
          part.values.slice_rows(permuted_row(r, source.permuted_dim), permuted_row(r, source.permuted_dim) + 1));
    part.values = ordered;
  }
  return {part};
}
DType GgufModel::dtype(const std::string& published) const { return dtype_of(stored_type(published)); }

Tensor GgufModel::read(const std::string& published) const {
  const Source source = source_of(published);
  const PublishedTensor& tensor = tensors_[by_name_.at(published)];
  const Shape shape{std::span<const int64_t>(tensor.shape)};
  const DType dtype = dtype_of(source.type());
  if (is_stored_plain(published)) {
    const int64_t skip = source.first_row * source.main->row_bytes();
    std::byte* at = const_cast<std::byte*>(file_->data(*source.main)) + skip;
    if (reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(dtype_bytes(dtype)) == 0)
      return Tensor::wrap(at, shape, dtype, file_->lend(*source.main, at, shape.numel() * dtype_bytes(dtype)));
  }
  Tensor to = Tensor::empty(shape, dtype);
  read_into(published, to);
  return to;
}

void GgufModel::read_rows(const std::string& published, int64_t begin, int64_t end, float* to) const {
  const Source source = source_of(published);
  const PublishedTensor& tensor = tensors_[by_name_.at(published)];
  const int64_t width = tensor.shape.back();
  const auto row_of = [&](const GgufFile::Entry& entry, int64_t from, float* out) {
    dequantize_row(entry.type, file_->data(entry) + from * entry.row_bytes(), width, out);
  };
  const int64_t nope = config_.qk_nope_head_dim, v = config_.v_head_dim;
  std::vector<float> key(static_cast<size_t>(source.keys ? width * nope : 0));
  int64_t head_there = -1;
  for (int64_t r = begin; r < end; ++r, to += width) {
    if (source.main) {
      row_of(*source.main, source.first_row + (source.permuted_dim > 0 ? permuted_row(r, source.permuted_dim) : r), to);
      continue;
    }
    const int64_t head = r / (nope + v), i = r % (nope + v);
    if (i >= nope) {
      row_of(*source.values, head * v + i - nope, to);
      continue;
    }
    if (head != head_there)  // keys are stored transposed: [latent, nope] of each head
      for (int64_t l = 0; l < width; ++l)
        dequantize_row(source.keys->type, file_->data(*source.keys) + (head * width + l) * source.keys->row_bytes(), nope,
                       key.data() + l * nope);
    head_there = head;
    for (int64_t l = 0; l < width; ++l) to[l] = key[static_cast<size_t>(l * nope + i)];
  }
}

void GgufModel::read_into(const std::string& published, Tensor to) const {
  const Source source = source_of(published);
  const PublishedTensor& tensor = tensors_[by_name_.at(published)];
  CHECK(to.numel() == Shape{std::span<const int64_t>(tensor.shape)}.numel());
  const int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0], width = tensor.shape.back();
  if (tensor.shape.size() == 1) to = to.view({1, width});
  const bool raw = is_plain(source.type()) && to.dtype() == dtype_of(source.type());
  std::vector<float> values(static_cast<size_t>(width));
  const auto copy_row = [&](const GgufFile::Entry& entry, int64_t from, int64_t row) {
    const std::byte* at = file_->data(entry) + from * entry.row_bytes();
    if (raw && entry.type == source.type()) {
      std::memcpy(to.raw() + row * to.row_stride() * dtype_bytes(to.dtype()), at, static_cast<size_t>(entry.row_bytes()));
      return;
    }
    dequantize_row(entry.type, at, width, values.data());
    store_row(values.data(), width, to, row);
  };
  if (source.main) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = source.permuted_dim > 0 ? permuted_row(r, source.permuted_dim) : r;
      copy_row(*source.main, source.first_row + from, r);
    }
    return;
  }
  for (int64_t r = 0; r < rows;) {  // kv_b_proj: head by head; exact, as the target is F32 or holds the stored type
    const int64_t next = std::min(rows, r + config_.qk_nope_head_dim + config_.v_head_dim);
    values.resize(static_cast<size_t>((next - r) * width));
    read_rows(published, r, next, values.data());
    for (const float* row = values.data(); r < next; ++r, row += width) store_row(row, width, to, r);
  }
}

std::string GgufModel::generation_json() const {
  if (const auto text = file_->text("fathom.generation_config")) return *text;
  Json json = generation_config(config_);
  for (const auto& [name, key] : {std::pair{"temperature", "temp"}, {"top_p", "top_p"}, {"min_p", "min_p"}})
    if (const auto value = file_->number(std::string("general.sampling.") + key)) json[name] = *value;
  if (const auto value = file_->integer("general.sampling.top_k")) json["top_k"] = *value;
  if (json.contains("temperature") || json.contains("top_p")) json["do_sample"] = true;
  return json.dump(2) + "\n";
}

std::string GgufModel::summary() const { return types_of(*file_); }

}  // namespace fathom
