#include "checkpoint/quantized_weight.h"

#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "tensor/format/bf16.h"
#include "tensor/format/e4m3.h"
#include "tensor/format/f16.h"
#include "tensor/format/fp8_block.h"

namespace fathom {
namespace {

using Located = SafetensorsDirectory::Located;

constexpr std::string_view kWeight = ".weight", kFp8Scale = "_scale_inv", kScale = "_scale", kPacked = "_packed",
                           kShape = "_shape";

[[noreturn]] void refuse(const std::string& name, const Located& at, const std::string& what) {
  fail_usage("checkpoint", "tensor '" + printable(name) + "' in " + at.file->path() + " " + what);
}
bool is_float(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32; }

// The tensor `name` that belongs to `weight`, of which `at` is there.
const Located& companion(const SafetensorsDirectory& files, const std::string& weight, const Located& at,
                         const std::string& name) {
  const auto found = files.tensors().find(name);
  if (found == files.tensors().end())
    refuse(weight, at, "is " + std::string(dtype_name(at.entry->dtype)) + ", but '" + printable(name) + "' is missing");
  return found->second;
}
[[noreturn]] void refuse_form(const std::string& name, const Located& found, const std::string& expected) {
  const SafetensorsFile::Entry& entry = *found.entry;
  refuse(name, found,
         "is " + std::string(dtype_name(entry.dtype)) + " " + shape_text(entry.shape) + "; expected is " + expected);
}
// Scales: `any_float`: F16, BF16 or F32; else F32.
const Located& scales_of(const SafetensorsDirectory& files, const std::string& weight, const Located& at,
                         const std::string& name, const std::vector<int64_t>& expected, bool any_float,
                         const std::string& of_what) {
  const Located& found = companion(files, weight, at, name);
  const DType dtype = found.entry->dtype;
  if (!(any_float ? is_float(dtype) : dtype == DType::kF32) || found.entry->shape != expected)
    refuse_form(name, found, (any_float ? "F16, BF16 or F32 " : "F32 ") + shape_text(expected) + ", one for every " + of_what);
  return found;
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

std::string QuantizedWeight::part_of(const std::string& name) {
  for (const std::string_view end : {kFp8Scale, kScale, kPacked, kShape})
    if (name.ends_with(std::string(kWeight) + std::string(end))) return name.substr(0, name.size() - end.size());
  return "";
}

std::optional<QuantizedWeight> QuantizedWeight::find(const SafetensorsDirectory& files, const ModelConfig& config,
                                                     const std::string& name) {
  const auto found = files.tensors().find(name);
  if (found == files.tensors().end()) {
    const auto codes = files.tensors().find(name + std::string(kPacked));
    if (codes == files.tensors().end()) return std::nullopt;
    return packed(files, config, name, codes->second);
  }
  const Located& matrix = found->second;
  const DType dtype = matrix.entry->dtype;
  const std::vector<int64_t>& shape = matrix.entry->shape;
  if (dtype != DType::kF8E4M3 && dtype != DType::kI8) return std::nullopt;
  const std::string type(dtype_name(dtype));
  if (shape.size() != 2) refuse(name, matrix, "is " + type + " and no matrix: its shape is " + shape_text(shape));
  if (dtype == DType::kF8E4M3) {
    const auto blocks = [](int64_t size) { return (size + kFp8Block - 1) / kFp8Block; };
    return QuantizedWeight(WeightFormat::kFp8Block, shape, matrix,
                           scales_of(files, name, matrix, name + std::string(kFp8Scale), {blocks(shape[0]), blocks(shape[1])},
                                     false, "block of 128 x 128"));
  }
  if (config.quantization.weights != WeightFormat::kInt8Row)
    refuse(name, matrix,
           "is I8, but quantization_config of config.json does not say how: expected is quant_method 'compressed-tensors' with "
           "format 'int-quantized'");
  return QuantizedWeight(WeightFormat::kInt8Row, shape, matrix,
                         scales_of(files, name, matrix, name + std::string(kScale), {shape[0], 1}, true, "row"));
}

QuantizedWeight QuantizedWeight::packed(const SafetensorsDirectory& files, const ModelConfig& config, const std::string& name,
                                        const Located& codes) {
  const std::string packed_name = name + std::string(kPacked), shape_name = name + std::string(kShape);
  const WeightFormat format = config.quantization.weights;
  if (!is_int4(format))
    refuse(packed_name, codes,
           "is here, but quantization_config of config.json does not say how it is packed: expected is quant_method "
           "'compressed-tensors' with format 'pack-quantized'");
  const Located& stored_shape = companion(files, packed_name, codes, shape_name);
  if (stored_shape.entry->dtype != DType::kI64 || stored_shape.entry->shape != std::vector<int64_t>{2})
    refuse_form(shape_name, stored_shape, "I64 [2], the rows and columns of the weight");
  const Tensor numbers = stored_shape.tensor();
  int64_t out, in;
  std::memcpy(&out, numbers.raw(), 8);
  std::memcpy(&in, numbers.raw() + 8, 8);
  const int64_t group = block_layout(format).group;
  if (out <= 0 || in <= 0 || in % group != 0)
    refuse(shape_name, stored_shape,
           "says " + shape_text({out, in}) + "; read are columns in whole groups of " + std::to_string(group) +
               " (group_size of config.json)");
  if (codes.entry->dtype != DType::kI32 || codes.entry->shape != std::vector<int64_t>{out, in / 8})
    refuse_form(packed_name, codes, "I32 " + shape_text({out, in / 8}) + ", 8 codes a word");
  const Located& scales = scales_of(files, packed_name, codes, name + std::string(kScale), {out, in / group}, true,
                                    std::to_string(group) + " of a row");
  return QuantizedWeight(format, {out, in}, codes, scales, &stored_shape);
}

std::vector<std::string> QuantizedWeight::tensors() const {
  std::vector<std::string> names = {values_->entry->name, scales_->entry->name};
  if (stored_shape_) names.push_back(stored_shape_->entry->name);
  return names;
}

WeightPart QuantizedWeight::part() const {
  WeightPart part;
  part.values = values_->tensor();
  const Tensor stored = scales_->tensor();
  if (format_ == WeightFormat::kFp8Block) {
    part.scales = stored;
    return part;
  }
  part.scales = Tensor::empty(format_ == WeightFormat::kInt8Row ? Shape{stored.dim(0)} : stored.shape(), DType::kF32);
  for (int64_t i = 0; i < stored.numel(); ++i) part.scales.data<float>()[i] = float_at(stored, i);
  return part;
}

void QuantizedWeight::read_rows(int64_t begin, int64_t end, float* to) const {
  const Tensor values = values_->tensor(), scales = scales_->tensor();
  const int64_t width = shape()[1], group = block_layout(format_).group;
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(values.raw());
  for (int64_t r = begin; r < end; ++r, to += width) {
    if (format_ == WeightFormat::kFp8Block) {
      const float* of_blocks = scales.row<float>(r / kFp8Block);
      for (int64_t c = 0; c < width; ++c) to[c] = e4m3_to_float(bytes[r * width + c]) * of_blocks[c / kFp8Block];
    } else if (format_ == WeightFormat::kInt8Row) {
      const float scale = float_at(scales, r);
      for (int64_t c = 0; c < width; ++c) to[c] = static_cast<float>(static_cast<int8_t>(bytes[r * width + c])) * scale;
    } else {
      for (int64_t first = 0; first < width; first += group) {
        const float scale = float_at(scales, (r * width + first) / group);
        for (int64_t c = first; c < first + group; ++c) {
          const int code = bytes[(r * width + c) / 2] >> (c % 2 * 4) & 15;
          to[c] = static_cast<float>(code - 8) * scale;
        }
      }
    }
  }
}

}  // namespace fathom
