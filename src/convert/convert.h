// Hugging Face directory <-> GGUF file, in any direction, tensor by tensor: memory does not grow with the model. A killed
// conversion goes on where it was (GGUF: behind the last tensor on disk; a directory: behind the last whole file).
#pragma once
#include <string>
#include <vector>

#include "checkpoint/safetensors_shard.h"
#include "convert/calibrated_rounding.h"
#include "convert/model_source.h"
#include "tensor/format/ggml_type.h"

namespace fathom {

struct ConvertOptions {
  std::string from, to;
  enum class Format { kHuggingFace, kGguf } format = Format::kGguf;
  std::string dtype;  // f32 f16 bf16; a directory: int8 int4-g32 int4-g128; GGUF: q8_0 q4_0 q4_1 q5_0 q4_k q6_k; empty: as the
                      // source stores its values
  int64_t shard_bytes = kShardBytes;
  bool mtp = true;                           // GGUF: the MTP layer goes along (as nextn tensors)
  const Calibration* calibration = nullptr;  // a directory in integers: codes fitted to its text; null: the nearest ones
};

struct ConvertReport {
  int64_t tensors = 0, bytes = 0;
  bool stopped = false;               // by a signal; the same command goes on
  std::vector<std::string> warnings;  // what the target cannot carry, or holds in another type
  CalibrationReport calibration;      // of this run: a conversion that goes on counts what was left to do
};
// Error (usage) where the target exists, or source, target and type do not go together.
ConvertReport convert_model(const ConvertOptions& options);

constexpr int64_t kChunkValues = 1 << 20;  // rows are read, converted and written in chunks of about this size
// The two directions; `source` is open.
ConvertReport convert_to_gguf(const ModelSource& source, const ConvertOptions& options);
ConvertReport convert_to_directory(const ModelSource& source, const ConvertOptions& options);

// config.json with another torch_dtype (empty: its own), and without what no longer holds: quantization_config, the MTP layer
// unless kept. The text itself where nothing changes.
std::string config_for(const std::string& config_json, const std::string& torch_dtype, bool keep_mtp);
// Error (usage) naming the tensor where a value is not finite, or larger than `largest`.
void check_values(const std::string& tensor, const float* values, int64_t n, float largest, const char* type);

}  // namespace fathom
