#include "checkpoint/model_files.h"

#include "base/check.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr int64_t kMaxSmallFile = int64_t{1} << 30;

std::string text_where_there_is(const std::string& path) { return file_exists(path) ? read_file(path, kMaxSmallFile) : ""; }

}  // namespace

ModelFiles::ModelFiles(const std::string& path) : path_(path) {
  if (is_directory(path)) return;
  if (is_gguf_file(path)) {
    gguf_file_ = std::make_shared<const GgufFile>(GgufFile::open(path));
    return;
  }
  if (file_exists(path))
    fail_usage("checkpoint", "'" + printable(path) +
                                 "' is not a directory, and no GGUF file; give the folder that holds "
                                 "config.json and *.safetensors, or FILE.gguf");
  fail_usage("checkpoint", "there is no '" + printable(path) + "'; give a model directory or a GGUF file");
}

std::string ModelFiles::config_path() const {
  const std::string path = path_ + "/config.json";
  if (!file_exists(path))
    fail_usage("checkpoint", "'" + printable(path_) + "' has no config.json: it is not a model directory");
  return path;
}

// Whether there are weights, none of them of the MTP module: transformers and what quantises with it write such directories.
bool ModelFiles::lacks_mtp() const {
  if (!SafetensorsDirectory::exists(path_)) return false;
  const std::string prefix = "model.layers." + std::to_string(config_->num_hidden_layers) + ".";
  const auto first = tensors().tensors().lower_bound(prefix);
  return first == tensors().tensors().end() || !first->first.starts_with(prefix);
}

const ModelConfig& ModelFiles::config() const {
  if (is_gguf()) return gguf().config();
  if (!config_) {
    config_ = ModelConfig::from_file(config_path());
    if (config_->num_nextn_predict_layers > 0 && lacks_mtp()) {
      log_warning("'" + printable(path_) + "': config.json asks for an MTP module (num_nextn_predict_layers " +
                  std::to_string(config_->num_nextn_predict_layers) + "), of which the files hold nothing: loaded without it");
      config_->num_nextn_predict_layers = 0;
    }
  }
  return *config_;
}

std::string ModelFiles::config_json() const {
  return is_gguf() ? gguf().config_json() : read_file(config_path(), int64_t{16} << 20);
}

std::string ModelFiles::generation_json() const {
  return is_gguf() ? gguf().generation_json() : text_where_there_is(path_ + "/generation_config.json");
}

TokenizerFiles ModelFiles::tokenizer_files() const {
  if (is_gguf()) return tokenizer_from_gguf(*gguf_file_).value_or(TokenizerFiles{});
  return {text_where_there_is(path_ + "/tokenizer.json"), text_where_there_is(path_ + "/tokenizer_config.json"),
          text_where_there_is(path_ + "/chat_template.jinja")};
}

std::optional<Tokenizer> ModelFiles::tokenizer() const {
  if (!is_gguf()) {
    if (!file_exists(path_ + "/tokenizer.json")) return std::nullopt;
    return Tokenizer::from_directory(path_);
  }
  const TokenizerFiles files = tokenizer_files();
  if (files.tokenizer_json.empty()) return std::nullopt;
  return Tokenizer::from_text(files.tokenizer_json, files.tokenizer_config, path_, files.scores);
}

const GgufModel& ModelFiles::gguf() const {
  CHECK(is_gguf());
  if (!gguf_) gguf_ = GgufModel::from_file(gguf_file_);
  return *gguf_;
}

const GgufFile& ModelFiles::gguf_file() const {
  CHECK(is_gguf());
  return *gguf_file_;
}

const SafetensorsDirectory& ModelFiles::tensors() const {
  CHECK(!is_gguf());
  if (!tensors_) tensors_ = SafetensorsDirectory::open(path_);
  return *tensors_;
}

}  // namespace fathom
