// A model in a GGUF file, seen under its published names: config, tensors in published order of rows, tokenizer.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/published_tensors.h"
#include "kernels/matmul/packed.h"
#include "tensor/tensor.h"

namespace fathom {

class GgufModel {
 public:
  // Checks that every tensor of the model is there with its shape, and none besides.
  static GgufModel open(const std::string& path);
  static GgufModel from_file(std::shared_ptr<const GgufFile> file);

  const GgufFile& file() const { return *file_; }
  const ModelConfig& config() const { return config_; }
  const std::vector<PublishedTensor>& tensors() const { return tensors_; }
  GgmlType stored_type(const std::string& published) const;
  // What a Parameter's `stored` takes (nn/parameter.h): a view of the file where the type is plain or computed on as it is and
  // the rows stand in published order, else a copy in that order; nothing where it has to be expanded. kv_b_proj in split form
  // gives two parts a head for the `absorbed` formula, nothing for the other. The token table may be of any type.
  std::vector<WeightPart> stored_parts(const std::string& published, bool absorbed) const;
  // Whether read() is a view of the file: as F32, F16 or BF16 in the published order of rows.
  bool is_stored_plain(const std::string& published) const;
  // What read() gives: F32, F16 and BF16 as stored, all else F32.
  DType dtype(const std::string& published) const;
  Tensor read(const std::string& published) const;  // contiguous; one tensor's memory, or a view of the file
  void read_rows(const std::string& published, int64_t begin, int64_t end, float* to) const;
  void read_into(const std::string& published, Tensor to) const;  // to: F32 or BF16, any row stride
  // config.json, generation_config.json in the published spelling: as they were at the conversion where the file tells
  // (fathom.config) and agrees with its other metadata, else made from it.
  std::string config_json() const { return config_json_; }
  std::string generation_json() const;
  std::string summary() const;  // "Q4_K 84 tensors, F32 40 tensors"

 private:
  struct Source;
  Source source_of(const std::string& published) const;
  std::shared_ptr<const GgufFile> file_;
  ModelConfig config_;
  std::string config_json_;
  std::vector<PublishedTensor> tensors_;
  std::map<std::string, size_t> by_name_;
};

}  // namespace fathom
