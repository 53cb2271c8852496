// What tokenizer.json and tokenizer_config.json say, checked: everything that is not supported is an Error by name.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer_steps.h"
#include "text/token_decoder.h"

namespace fathom {

struct TokenizerSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;       // tokens as the file writes them
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  // By token id, or empty: a merge then comes before another where its result has the higher score, the leftmost first where
  // they are equal, whatever the order of merges (llama.cpp's rule for SentencePiece).
  std::vector<float> scores;
  bool ignore_merges = false, byte_fallback = false, fuse_unk = false;
  std::string unk;  // what stands for a character that the vocabulary lacks; empty: nothing
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  std::vector<DecoderStep> decoders;
  bool has_decoder = false;
  std::vector<int32_t> prefix, suffix;  // what the post-processor puts around a text
  // tokenizer_config.json; empty where it says nothing
  std::string bos_token, eos_token, pad_token, unk_token;
  std::vector<std::pair<std::string, std::string>> chat_templates;  // by name; the usual one is "default"
  std::string chat_template_from;                                   // the file that "default" is from; empty: none
  bool add_bos_token = false;

  // Byte-level BPE: splits, then bytes, and no token for what is unknown. Then `patterns` are those of the splits.
  bool is_byte_level() const;
  std::vector<std::string> patterns() const;
  bool has_only_nfc() const;                 // the normalizer is NFC
  std::string token_text(int32_t id) const;  // empty: none
};

TokenizerSpec read_tokenizer_json(const std::string& path);
TokenizerSpec parse_tokenizer_json(const std::string& text, const std::string& source);
void read_tokenizer_config(const std::string& path, TokenizerSpec& spec);
void parse_tokenizer_config(const std::string& text, const std::string& source, TokenizerSpec& spec);
// chat_template.jinja, else chat_template.json of a model directory, in place of what the config says.
void read_chat_template(const std::string& directory, TokenizerSpec& spec);

}  // namespace fathom
