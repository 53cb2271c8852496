// quantization_config of config.json: DeepSeek's FP8 blocks, and compressed-tensors' integers: its int-quantized format (int8
// codes, one scale a row) and its pack-quantized one (codes of 4 bits, one scale for 32 or 128 of a row). Include only from
// .cpp files.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "model/model_config.h"

namespace fathom {

// Error (usage) naming `source` and the field where a value is of the wrong type. A scheme that is not read here is no error:
// `unsupported` then says which field asks for it, as the weights' sizes are known all the same.
ModelConfig::Quantization read_quantization(const Json& quantization_config, const std::string& source);
// What a directory says whose linear layers' weights are stored as `weights` (kInt8Row, kInt4Group32, kInt4Group128), but for
// the modules of `ignore`: names, or "re:" and a regular expression.
Json compressed_tensors_config(WeightFormat weights, const std::vector<std::string>& ignore);

}  // namespace fathom
