// A matrix that a Hugging Face directory holds in quantised form, found under its published name ("….weight"):
//   FP8 blocks (architecture.md §1.3)    F8_E4M3 [out, in] and `_scale_inv` F32, one for every block of 128 x 128
//   int8 rows (compressed-tensors' int-quantized)    I8 [out, in] and `_scale` [out, 1] F16, BF16 or F32
//   int4 groups (its pack-quantized)    `_packed` I32 [out, in / 8], `_scale` [out, in / 32 or 128] likewise, `_shape` I64 [2]
#pragma once
#include <optional>
#include <string>
#include <utility>
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
  // nullopt where `files` hold no such form of `name`. Error (usage) that names the tensor where it is no matrix, what
  // belongs to it is missing or of another type or shape, or quantization_config says nothing of it.
  static std::optional<QuantizedWeight> find(const SafetensorsDirectory& files, const ModelConfig& config,
                                             const std::string& name);
  // The weight that the tensor `name`, by its own name, is a part of ("….weight_scale"); "" where it is none.
  static std::string part_of(const std::string& name);

  WeightFormat format() const { return format_; }
  std::vector<std::string> tensors() const;                     // the names of those that hold it
  const std::vector<int64_t>& shape() const { return shape_; }  // [out, in], as published
  const std::string& file() const { return values_->file->path(); }
  WeightPart part() const;  // values: a view of the file; scales of integers become F32
  // Rows [begin, end), code times scale.
  void read_rows(int64_t begin, int64_t end, float* to) const;

 private:
  static QuantizedWeight packed(const SafetensorsDirectory& files, const ModelConfig& config, const std::string& name,
                                const Located& codes);
  QuantizedWeight(WeightFormat format, std::vector<int64_t> shape, const Located& values, const Located& scales,
                  const Located* stored_shape = nullptr)
      : format_(format), shape_(std::move(shape)), values_(&values), scales_(&scales), stored_shape_(stored_shape) {}
  WeightFormat format_;
  std::vector<int64_t> shape_;
  const Located *values_, *scales_, *stored_shape_;
};

}  // namespace fathom
