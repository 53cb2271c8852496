#include "convert/model_source.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "checkpoint/quantized_weight.h"
#include "tensor/format/bf16.h"
#include "tensor/format/f16.h"

namespace fathom {
namespace {

std::string stamp(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return path;
  return path + ":" + std::to_string(info.st_size) + ":" + std::to_string(info.st_mtim.tv_sec) + "." +
         std::to_string(info.st_mtim.tv_nsec) + ";";
}

class HfSource : public ModelSource {
 public:
  explicit HfSource(ModelFiles files) : ModelSource(std::move(files)), files_(model_files_.tensors()) {
    const std::string& directory = model_files_.path();
    for (const auto& file : files_.files()) {
      fingerprint += stamp(file->path());
      for (const auto& [key, value] : file->metadata()) metadata.emplace(key, value);
      for (const auto& entry : file->entries()) {
        items_.push_back({entry.name, entry.shape, entry.dtype, false, QuantizedWeight::part_of(entry.name)});
        // A scheme that is not read is no matter to a copy.
        if (!config().quantization.unsupported.empty()) continue;
        if (QuantizedWeight::find(files_, config(), entry.name)) {
          items_.back().quantised = true;
        } else if (entry.name.ends_with("_packed") && !items_.back().part_of.empty()) {
          if (const auto packed = QuantizedWeight::find(files_, config(), items_.back().part_of))
            items_.push_back({items_.back().part_of, packed->shape(), DType::kF32, true, "", false});
        }
      }
    }
    fingerprint += stamp(directory + "/config.json");
    index();
    for (const std::string& name : list_directory(directory)) {
      const std::string path = directory + "/" + name;
      if (is_directory(path) || name.ends_with(".safetensors") || name == "model.safetensors.index.json" ||
          name == "config.json" || name.find(".tmp") != std::string::npos)
        continue;
      if (name.ends_with(".json") || name.ends_with(".jinja") || name.ends_with(".txt") || name.ends_with(".md") ||
          name.ends_with(".model") || name.ends_with(".py") || name == "LICENSE")
        small_files.push_back(path);
    }
  }
  bool is_gguf() const override { return false; }
  int64_t stored_bytes() const override {
    int64_t bytes = 0;
    for (const auto& file : files_.files()) bytes += file->data_bytes();
    return bytes;
  }
  void check_readable() const override { check_quantization(config(), model_files_.path()); }
  Tensor read(const Item& item) const override { return files_.tensors().at(item.name).tensor(); }
  void read_rows(const Item& item, int64_t begin, int64_t end, float* to) const override {
    if (const auto quantised = QuantizedWeight::find(files_, config(), item.name)) return quantised->read_rows(begin, end, to);
    const Tensor tensor = files_.tensors().at(item.name).tensor();
    const int64_t width = item_width(item);
    const std::byte* from = tensor.raw() + begin * width * dtype_bytes(item.dtype);
    const int64_t n = (end - begin) * width;
    if (item.dtype == DType::kF32) {
      std::copy_n(from, n * 4, reinterpret_cast<std::byte*>(to));
    } else if (item.dtype == DType::kBF16) {
      for (int64_t i = 0; i < n; ++i) to[i] = to_float(reinterpret_cast<const bf16*>(from)[i]);
    } else if (item.dtype == DType::kF16) {
      for (int64_t i = 0; i < n; ++i) to[i] = to_float(reinterpret_cast<const f16*>(from)[i]);
    } else {
      fail_usage("convert", "tensor '" + printable(item.name) + "' has type " + std::string(dtype_name(item.dtype)) +
                                ", which holds no weights; only a copy without --dtype keeps it");
    }
  }

 private:
  const SafetensorsDirectory& files_;
};

class GgufSource : public ModelSource {
 public:
  explicit GgufSource(ModelFiles files) : ModelSource(std::move(files)), model_(model_files_.gguf()) {
    for (const PublishedTensor& tensor : model_.tensors()) {
      const GgmlType type = model_.stored_type(tensor.name);
      const bool plain = type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16;
      items_.push_back({tensor.name, tensor.shape, model_.dtype(tensor.name), !plain, "", plain});
    }
    index();
    metadata["format"] = "pt";
    for (const std::string& path : model_.file().paths()) fingerprint += stamp(path);
  }
  bool is_gguf() const override { return true; }
  int64_t stored_bytes() const override {
    int64_t bytes = 0;
    for (const auto& entry : model_.file().entries()) bytes += entry.bytes;
    return bytes;
  }
  Tensor read(const Item& item) const override { return model_.read(item.name); }
  void read_rows(const Item& item, int64_t begin, int64_t end, float* to) const override {
    model_.read_rows(item.name, begin, end, to);
  }

 private:
  const GgufModel& model_;
};

}  // namespace

int64_t item_rows(const ModelSource::Item& item) {
  if (item.shape.size() < 2) return 1;
  int64_t n = 1;
  for (size_t i = 0; i + 1 < item.shape.size(); ++i) n *= item.shape[i];
  return n;
}
int64_t item_width(const ModelSource::Item& item) { return item.shape.empty() ? 1 : item.shape.back(); }

ModelSource::ModelSource(ModelFiles files)
    : config_json(files.config_json()),
      generation_json(files.generation_json()),
      tokenizer(files.tokenizer_files()),
      model_files_(std::move(files)) {}

void ModelSource::index() {
  for (size_t i = 0; i < items_.size(); ++i) by_name_[items_[i].name] = i;
}
const ModelSource::Item* ModelSource::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &items_[it->second];
}

std::unique_ptr<ModelSource> ModelSource::open(const std::string& path) {
  ModelFiles files(path);
  if (files.is_gguf()) return std::make_unique<GgufSource>(std::move(files));
  return std::make_unique<HfSource>(std::move(files));
}

}  // namespace fathom
