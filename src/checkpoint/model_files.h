// A model as it lies on disk, opened once: a Hugging Face directory or a GGUF file, seen alike. What is asked for is read on
// the first call; not for several threads at a time.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/gguf_model.h"
#include "checkpoint/safetensors.h"
#include "model/model_config.h"
#include "text/tokenizer.h"

namespace fathom {

class ModelFiles {
 public:
  // Error (usage) that says what was expected where the path is neither. A GGUF file is parsed here and nowhere else.
  ModelFiles(const std::string& path);  // NOLINT: a path stands for the model that lies there
  const std::string& path() const { return path_; }
  bool is_gguf() const { return gguf_file_ != nullptr; }

  // Without the MTP module, and a warning, where config.json asks for one of which the weights hold nothing.
  const ModelConfig& config() const;
  std::string config_json() const;      // the text of config.json, or what the GGUF file says in its spelling
  std::string generation_json() const;  // of generation_config.json; empty where there is none
  TokenizerFiles tokenizer_files() const;
  std::optional<Tokenizer> tokenizer() const;  // none where there is none
  // The weights, by kind: CHECKs is_gguf().
  const GgufModel& gguf() const;
  const SafetensorsDirectory& tensors() const;
  // The GGUF file as such, whether or not it holds a model that is supported; CHECKs is_gguf().
  const GgufFile& gguf_file() const;

 private:
  std::string config_path() const;  // Error where it is missing
  bool lacks_mtp() const;
  std::string path_;
  std::shared_ptr<const GgufFile> gguf_file_;  // null: a directory
  mutable std::optional<GgufModel> gguf_;
  mutable std::optional<ModelConfig> config_;
  mutable std::optional<SafetensorsDirectory> tensors_;
};

}  // namespace fathom
