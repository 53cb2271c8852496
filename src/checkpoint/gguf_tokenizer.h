// The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json, and the way back.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_metadata.h"

namespace fathom {

struct TokenizerFiles {
  std::string tokenizer_json, tokenizer_config;  // contents; empty where there is none
  std::string chat_template;                     // Jinja source, empty where none
  std::vector<float> scores = {};  // of model llama, by id: what decides between merges (TokenizerSpec); else empty
};
// From tokenizer.huggingface.json where the file has it, else from tokenizer.ggml.* (model gpt2: byte-level BPE; model llama:
// SentencePiece's BPE, whose tokenizer_json gives llama.cpp's ids together with the scores, and without them too but where
// two ways to the same token overlap).
// Nothing where the file has no tokenizer. Error (usage) naming the key that is not supported.
std::optional<TokenizerFiles> tokenizer_from_gguf(const GgufFile& file);

// tokenizer.* for a model with `vocab_size` rows. `lost` gets a sentence for each thing that other programs will not see.
GgufMetadata gguf_tokenizer_metadata(const TokenizerFiles& files, int64_t vocab_size, std::vector<std::string>& lost);

}  // namespace fathom
