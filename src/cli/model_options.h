// What the commands that load a model share: the directory, the numerics, the prompt, the defaults of sampling.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/hf_directory.h"
#include "checkpoint/model_files.h"
#include "cli/command_line.h"
#include "infer/prefix_store.h"
#include "text/tokenizer.h"

namespace fathom {

struct ModelOptions {
  std::string directory, dtype, mla = "expanded", weights = "plain", cache_type = "plain", activations = "16bit", packed_cache;
  PrefixStoreConfig prefix_cache;
  bool allow_long = false;
  void add(CommandLine& command);
  ModelFiles open() const { return ModelFiles(directory); }
  Numerics numerics(const ModelConfig& config) const;  // dtype not given: the checkpoint's
  // --prefix-cache and its size, for generate and chat; its config for the model.
  void add_prefix_cache(CommandLine& command);
  PrefixStoreConfig prefix_store(const ModelFiles& files) const;
  // Positions that prompt and answer may take: max_position_embeddings, or no limit with --allow-long.
  int64_t max_positions(const ModelConfig& config) const;
};

void add_cache_type_option(CommandLine& command, std::string& type);  // --cache-type: a name of KvType
void add_activations_option(CommandLine& command, std::string& activations);
Activations activations_from_name(const std::string& name);  // of the option's values

struct PromptOptions {
  std::string ids, text;
  bool has_ids = false, has_text = false;
  bool chat = false, no_think = false;  // the text is a message, put through the model's chat template
  std::string system, messages;         // with chat: the system message; a file with a conversation in place of the text
  std::string messages_json;            // or the conversation itself
  void add(CommandLine& command, bool from_stdin);
  void add_chat(CommandLine& command);
  // The prompt's ids, every one below the vocabulary's size, not more than `max_positions`. Reads stdin where allowed.
  std::vector<int32_t> read(const ModelConfig& config, const std::optional<Tokenizer>& tokenizer, int64_t max_positions) const;

 private:
  std::string read_text(const std::optional<Tokenizer>& tokenizer) const;
  std::vector<int32_t> read_chat(const std::optional<Tokenizer>& tokenizer) const;
  bool from_stdin_ = false;
};

// Vocabulary rows beyond the tokenizer's last id are padding: never drawn.
int64_t num_valid_tokens(const ModelConfig& config, const Tokenizer* tokenizer);
// The bytes to print for a token. Special tokens are left out unless `show_special`, but the tags around thinking are shown:
// some tokenizers mark them special, some do not. Empty too for ids that the tokenizer does not know.
std::string shown_bytes(const Tokenizer& tokenizer, int32_t id, bool show_special = false);
std::string token_text(const std::optional<Tokenizer>& tokenizer, int32_t id);  // printable, for tables
void flush_stdout();  // Error where the result could not be written (full disk)

}  // namespace fathom
