// A matrix that a Hugging Face directory holds in quantised form, found under its published name ("….weight"):
//   FP8 blocks (architecture.md §1.3)    F8_E4M3 [out, in] and `_scale_inv` F32, one for every block of 128 x 128
//   int8 rows (compressed-tensors' int-quantized, inference-serving.md §1.3)    I8 [out, in] and `_scale` [out, 1] F16, BF16,
//   F32
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "kernels/matmul/packed.h"
#include "model/model_config.h"

namespace fathom {

// Error (usage) that names the field of `path`/config.json where its quantization_config asks for a scheme that is not read.
void check_quantization(const ModelConfig& config, const std::string& path);

class QuantizedWeight {
 public:
  using Located = SafetensorsDirectory::Located;
  // nullopt where `files` hold no such form of `name`. Error (usage) that names the tensor where it is no matrix, its scales
  // are missing or of another type or shape, or quantization_config says nothing of it.
  static std::optional<QuantizedWeight> find(const SafetensorsDirectory& files, const ModelConfig& config,
                                             const std::string& name);
  // The published name whose scales, by its own name, the tensor `name` holds; "" where it is none.
  static std::string scaled_by(const std::string& name);

  WeightFormat format() const { return format_; }
  const std::string& scales_name() const { return scales_->entry->name; }
  const std::vector<int64_t>& shape() const { return values_->entry->shape; }  // [out, in], as published
  const std::string& file() const { return values_->file->path(); }
  WeightPart part() const;  // values: a view of the file; scales of rows become F32
  // Rows [begin, end), code times scale.
  void read_rows(int64_t begin, int64_t end, float* to) const;

 private:
  QuantizedWeight(WeightFormat format, const Located& values, const Located& scales)
      : format_(format), values_(&values), scales_(&scales) {}
  WeightFormat format_;
  const Located *values_, *scales_;
};

}  // namespace fathom
