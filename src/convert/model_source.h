// A model to convert, wherever it lies: its tensors under their published names, and its small files as texts.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/model_files.h"
#include "tensor/tensor.h"

namespace fathom {

class ModelSource {
 public:
  // A Hugging Face directory or a GGUF file.
  static std::unique_ptr<ModelSource> open(const std::string& path);
  virtual ~ModelSource() = default;

  struct Item {
    std::string name;
    std::vector<int64_t> shape;
    DType dtype;             // as stored; F32 where the values are quantised and not `stored`
    bool quantised = false;  // values were rounded to codes with scales: GGUF's types, FP8, integers
    std::string part_of;     // not empty: where that item is quantised, this tensor is a part of it
    bool stored = true;      // read() gives a tensor of this name and type
  };
  const ModelFiles& files() const { return model_files_; }
  const ModelConfig& config() const { return model_files_.config(); }
  const std::vector<Item>& items() const { return items_; }
  const Item* find(const std::string& name) const;
  virtual bool is_gguf() const = 0;
  virtual int64_t stored_bytes() const = 0;  // of all tensors, as they lie in the files
  // Error (usage) where config.json says that the values are stored in a way that read_rows() does not know.
  virtual void check_readable() const {}
  // Rows [begin, end) as values (code times scale), shape[0] rows; a vector is one row.
  virtual void read_rows(const Item& item, int64_t begin, int64_t end, float* to) const = 0;
  // The stored bytes; a view of the file where it can be.
  virtual Tensor read(const Item& item) const = 0;

  std::string config_json, generation_json;
  TokenizerFiles tokenizer;                     // tokenizer_json empty: none
  std::map<std::string, std::string> metadata;  // of safetensors files
  std::vector<std::string> small_files;         // paths of files that a directory copies as they are
  std::string fingerprint;                      // of the source: paths, sizes, times

 protected:
  explicit ModelSource(ModelFiles files);
  void index();
  ModelFiles model_files_;
  std::vector<Item> items_;
  std::map<std::string, size_t> by_name_;
};
int64_t item_rows(const ModelSource::Item& item);
int64_t item_width(const ModelSource::Item& item);

}  // namespace fathom
