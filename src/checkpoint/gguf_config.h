// ModelConfig <-> GGUF's architecture metadata (llama, qwen2, qwen3, deepseek2).
#pragma once
#include <string>
#include <vector>

#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_metadata.h"
#include "model/model_config.h"

namespace fathom {

// Error (usage) naming the key that is missing, impossible or not supported.
ModelConfig config_from_gguf(const GgufFile& file);
// general.architecture and the architecture's own keys. The llama3 divisors stand in a tensor: llama3_divisors().
GgufMetadata gguf_config_metadata(const ModelConfig& config);
// rope_freqs.weight: what each frequency is divided by. Empty where the model has no llama3 scaling.
std::vector<float> llama3_divisors(const ModelConfig& config);
// What other programs would compute differently from a GGUF of this model, each a sentence that names the field.
std::vector<std::string> lost_in_gguf(const ModelConfig& config);

}  // namespace fathom
