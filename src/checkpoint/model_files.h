// What a path that the user gave holds beside the weights: a Hugging Face directory or a GGUF file, seen alike.
#pragma once
#include <optional>
#include <string>

#include "model/model_config.h"
#include "text/tokenizer.h"

namespace fathom {

// Error (usage) that says what was expected where the path is neither.
ModelConfig read_model_config(const std::string& path);
std::optional<Tokenizer> read_model_tokenizer(const std::string& path);  // none where there is none
std::string read_generation_config(const std::string& path);             // JSON text, empty where there is none

}  // namespace fathom
