#include "checkpoint/model_files.h"

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "checkpoint/gguf_model.h"

namespace fathom {

ModelConfig read_model_config(const std::string& path) {
  if (is_gguf_file(path)) return GgufModel::open(path).config();
  if (file_exists(path) && !is_directory(path))
    fail_usage("checkpoint", "'" + printable(path) +
                                 "' is not a directory, and no GGUF file; give the folder that holds "
                                 "config.json and *.safetensors, or FILE.gguf");
  if (!is_directory(path))
    fail_usage("checkpoint", "there is no '" + printable(path) + "'; give a model directory or a GGUF file");
  if (!file_exists(path + "/config.json"))
    fail_usage("checkpoint", "'" + printable(path) + "' has no config.json: it is not a model directory");
  return ModelConfig::from_file(path + "/config.json");
}

std::optional<Tokenizer> read_model_tokenizer(const std::string& path) {
  if (is_gguf_file(path)) {
    const auto files = tokenizer_from_gguf(GgufFile::open(path));
    if (!files) return std::nullopt;
    return Tokenizer::from_text(files->tokenizer_json, files->tokenizer_config, path);
  }
  if (!file_exists(path + "/tokenizer.json")) return std::nullopt;
  return Tokenizer::from_directory(path);
}

std::string read_generation_config(const std::string& path) {
  if (is_gguf_file(path)) return GgufModel::open(path).generation_json();
  const std::string file = path + "/generation_config.json";
  return file_exists(file) ? read_file(file, int64_t{16} << 20) : "";
}

}  // namespace fathom
