#include "checkpoint/quantized_weight.h"

#include "base/error.h"
#include "base/utf8.h"
#include "tensor/format/bf16.h"
#include "tensor/format/e4m3.h"
#include "tensor/format/f16.h"
#include "tensor/format/fp8_block.h"

namespace fathom {
namespace {

using Located = SafetensorsDirectory::Located;

constexpr std::string_view kWeight = ".weight", kFp8Scale = "_scale_inv", kScale = "_scale";

[[noreturn]] void refuse(const std::string& name, const Located& at, const std::string& what) {
  fail_usage("checkpoint", "tensor '" + printable(name) + "' in " + at.file->path() + " " + what);
}
bool is_float(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32; }

// The scales `name` of the matrix `weight`. `any_float`: F16, BF16 or F32; else F32.
const Located& scales_of(const SafetensorsDirectory& files, const std::string& weight, const Located& matrix,
                         const std::string& name, const std::vector<int64_t>& expected, bool any_float, const char* of_what) {
  const auto found = files.tensors().find(name);
  if (found == files.tensors().end())
    refuse(weight, matrix, "is " + std::string(dtype_name(matrix.entry->dtype)) + ", but '" + printable(name) + "' is missing");
  const SafetensorsFile::Entry& entry = *found->second.entry;
  if (!(any_float ? is_float(entry.dtype) : entry.dtype == DType::kF32) || entry.shape != expected)
    refuse(name, found->second,
           "is " + std::string(dtype_name(entry.dtype)) + " " + shape_text(entry.shape) + "; expected is " +
               (any_float ? "F16, BF16 or F32 " : "F32 ") + shape_text(expected) + ", one for every " + of_what);
  return found->second;
}

float float_at(const Tensor& values, int64_t i) {
  switch (values.dtype()) {
    case DType::kF16:
      return to_float(reinterpret_cast<const f16*>(values.raw())[i]);
    case DType::kBF16:
      return to_float(reinterpret_cast<const bf16*>(values.raw())[i]);
    default:
      return values.data<float>()[i];
  }
}

}  // namespace

void check_quantization(const ModelConfig& config, const std::string& path) {
  const ModelConfig::Quantization& q = config.quantization;
  if (q.quant_method.empty() || q.is_fp8_blocks()) return;
  const std::string where = path + "/config.json: quantization_config";
  if (q.is_compressed_tensors()) {
    if (!q.unsupported.empty()) fail_usage("checkpoint", path + "/config.json: " + q.unsupported);
    return;
  }
  if (q.quant_method != "fp8")
    fail_usage("checkpoint", where + ".quant_method is '" + printable(q.quant_method) +
                                 "'; read are 'fp8' (128 x 128 blocks) and 'compressed-tensors'");
  if (!q.fmt.empty() && q.fmt != "e4m3") fail_usage("checkpoint", where + ".fmt is '" + printable(q.fmt) + "'; read is 'e4m3'");
  fail_usage("checkpoint",
             where + ".weight_block_size is " +
                 (q.weight_block_size.empty() ? "missing (one scale a tensor)" : shape_text(q.weight_block_size)) +
                 "; read is [128, 128]");
}

std::string QuantizedWeight::scaled_by(const std::string& name) {
  for (const std::string_view end : {kFp8Scale, kScale})
    if (name.ends_with(std::string(kWeight) + std::string(end))) return name.substr(0, name.size() - end.size());
  return "";
}

std::optional<QuantizedWeight> QuantizedWeight::find(const SafetensorsDirectory& files, const ModelConfig& config,
                                                     const std::string& name) {
  const auto found = files.tensors().find(name);
  if (found == files.tensors().end()) return std::nullopt;
  const Located& matrix = found->second;
  const DType dtype = matrix.entry->dtype;
  const std::vector<int64_t>& shape = matrix.entry->shape;
  if (dtype != DType::kF8E4M3 && dtype != DType::kI8) return std::nullopt;
  const std::string type(dtype_name(dtype));
  if (shape.size() != 2) refuse(name, matrix, "is " + type + " and no matrix: its shape is " + shape_text(shape));
  if (dtype == DType::kF8E4M3) {
    const auto blocks = [](int64_t size) { return (size + kFp8Block - 1) / kFp8Block; };
    return QuantizedWeight(WeightFormat::kFp8Block, matrix,
                           scales_of(files, name, matrix, name + std::string(kFp8Scale), {blocks(shape[0]), blocks(shape[1])},
                                     false, "block of 128 x 128"));
  }
  if (config.quantization.weights != WeightFormat::kInt8Row)
    refuse(name, matrix,
           "is I8, but quantization_config of config.json does not say how: expected is quant_method 'compressed-tensors' with "
           "format 'int-quantized'");
  return QuantizedWeight(WeightFormat::kInt8Row, matrix,
                         scales_of(files, name, matrix, name + std::string(kScale), {shape[0], 1}, true, "row"));
}

WeightPart QuantizedWeight::part() const {
  WeightPart part;
  part.values = values_->tensor();
  if (format_ == WeightFormat::kFp8Block) {
    part.scales = scales_->tensor();
    return part;
  }
  const Tensor stored = scales_->tensor();
  part.scales = Tensor::empty({shape()[0]}, DType::kF32);
  for (int64_t r = 0; r < shape()[0]; ++r) part.scales.data<float>()[r] = float_at(stored, r);
  return part;
}

void QuantizedWeight::read_rows(int64_t begin, int64_t end, float* to) const {
  const Tensor values = values_->tensor(), scales = scales_->tensor();
  const int64_t width = shape()[1];
  for (int64_t r = begin; r < end; ++r) {
    if (format_ == WeightFormat::kFp8Block) {
      const float* of_blocks = scales.row<float>(r / kFp8Block);
      const uint8_t* codes = reinterpret_cast<const uint8_t*>(values.raw()) + r * width;
      for (int64_t c = 0; c < width; ++c) *to++ = e4m3_to_float(codes[c]) * of_blocks[c / kFp8Block];
    } else {
      const float scale = float_at(scales, r);
      const int8_t* codes = reinterpret_cast<const int8_t*>(values.raw()) + r * width;
      for (int64_t c = 0; c < width; ++c) *to++ = static_cast<float>(codes[c]) * scale;
    }
  }
}

}  // namespace fathom
