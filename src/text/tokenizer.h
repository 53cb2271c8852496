// BPE compatible with Hugging Face's tokenizer.json: byte-level (architecture.md §2.5), or from characters with byte tokens for
// what the vocabulary lacks, as SentencePiece's models are published.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace fathom {

class Tokenizer {
 public:
  static Tokenizer from_directory(const std::string& path);  // tokenizer.json and tokenizer_config.json
  static Tokenizer from_file(const std::string& tokenizer_json);
  // The files' contents; config may be empty. `name` stands in errors.
  // scores: see TokenizerSpec; one for each id, or none.
  static Tokenizer from_text(const std::string& tokenizer_json, const std::string& config, const std::string& name,
                             std::vector<float> scores = {});
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // kAsText: no added token is recognised: what user text goes through. kSpecialAsText: those marked special are text.
  enum class Specials { kAsText, kRecognise, kSpecialAsText };
  // add_bos: with what the files put around every text: bos in front, as a rule.
  std::vector<int32_t> encode(std::string_view text, Specials specials, bool add_bos = false) const;
  // A text of which the spans `plain` (in order) came from outside: no added token is recognised in them, not even in part;
  // elsewhere all are. Pieces may cross their borders, as the reference's do, so harmless spans change nothing. continues:
  // the text goes on from another, so that a tokenizer which puts a blank in front of every text puts none here.
  std::vector<int32_t> encode(std::string_view text, std::span<const TextSpan> plain, bool continues = false) const;
  int64_t steps() const;  // elementary steps of all encoding so far: what tests of linear time count
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  // Streaming decode: bytes of one token inside a text; the caller joins them and prints whole code points only (see
  // Utf8Stream).
  std::string token_bytes(int32_t id) const;
  const char* kind() const;                     // "byte-level BPE", "BPE from characters"
  int32_t vocab_size() const;                   // highest id + 1
  int32_t id_of(std::string_view token) const;  // -1: none. Added tokens by their text, others by their mapped characters
  bool is_special(int32_t id) const;
  bool is_added(int32_t id) const;  // one of added_tokens
  int32_t bos_id() const;           // -1: none
  int32_t eos_id() const;
  int32_t pad_id() const;
  bool wants_bos() const;  // the files ask for bos at the start of every text, or for something else around it
  // Jinja source of the model's conversation, empty where none; with a name, one of several (tool_use).
  const std::string& chat_template(const std::string& name = "default") const;
  const std::string& chat_template_from() const;  // the file of the directory that it is from; empty where none
  // Texts of the tokens that templates may name: bos_token, eos_token, pad_token, unk_token. Those that there are.
  const std::vector<std::pair<std::string, std::string>>& named_tokens() const;

 private:
  Tokenizer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Holds back the bytes of an unfinished code point.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what is complete; ill-formed parts become U+FFFD
  std::string flush();

 private:
  std::string pending_;
};

// Training: byte-level BPE with merges by falling pair count (ties: lower pair of ids first), deterministic.
struct TokenizerTraining {
  int64_t vocab_size = 512;                     // bytes, merges and special tokens together
  std::vector<std::string> special_tokens;      // get the first ids
  std::string bos_token, eos_token, pad_token;  // must be among special_tokens, or empty
  std::string pattern;                          // pre-tokenizer regex; empty: DeepSeek-V3's sequence of splits
  // bos, eos and pad are marked special (skip_special drops them); the others are not, as in DeepSeek's file.
  std::string chat_template;  // written to tokenizer_config.json
  int64_t max_position = 4096;
};
// texts are views that stay alive during the call. Writes tokenizer.json and tokenizer_config.json into `directory`.
void train_tokenizer(std::span<const std::string_view> texts, const TokenizerTraining& config, const std::string& directory);

}  // namespace fathom
