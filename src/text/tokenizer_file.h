// What tokenizer.json and tokenizer_config.json say, checked: everything that is not supported is an Error by name.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace fathom {

struct TokenizerSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;       // tokens as mapped characters
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  bool ignore_merges = false;
  std::vector<AddedToken> added_tokens;
  bool nfc = false;
  std::vector<std::string> patterns;         // of the Split pre-tokenizers, in order
  std::vector<std::string> template_prefix;  // tokens that the post-processor puts in front
  // tokenizer_config.json; empty where it says nothing
  std::string bos_token, eos_token, pad_token, unk_token;
  std::vector<std::pair<std::string, std::string>> chat_templates;  // by name; the usual one is "default"
  bool add_bos_token = false;
};

TokenizerSpec read_tokenizer_json(const std::string& path);
TokenizerSpec parse_tokenizer_json(const std::string& text, const std::string& source);
void read_tokenizer_config(const std::string& path, TokenizerSpec& spec);
void parse_tokenizer_config(const std::string& text, const std::string& source, TokenizerSpec& spec);
// chat_template.jinja, else chat_template.json of a model directory, in place of what the config says.
void read_chat_template(const std::string& directory, TokenizerSpec& spec);

}  // namespace fathom
