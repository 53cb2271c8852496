// tokenizer.json's `decoder`: from the texts of tokens to one text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace fathom {

struct DecoderStep {
  enum Kind { kReplace, kByteFallback, kFuse, kStrip, kByteLevel, kMetaspace } kind;
  std::string pattern;          // kReplace
  bool regex = false;           // kReplace: pattern is a regular expression
  std::string content;          // kReplace: by what; kStrip, kMetaspace: the one character
  int64_t start = 0, stop = 0;  // kStrip: how many at most, at a token's begin and end
  bool prefixed = false;        // kMetaspace: encoding puts one in front, so the first token loses its own
};

// The byte that a token of SentencePiece's form <0xE4> stands for; -1: none.
int byte_of_token(std::string_view token);

class TokenDecoder {
 public:
  TokenDecoder() = default;
  explicit TokenDecoder(const std::vector<DecoderStep>& steps);  // Error (usage): a pattern does not compile
  // Well-formed. A run of byte tokens that is not UTF-8 as a whole gives one U+FFFD for each of them.
  std::string decode(std::vector<std::string> tokens) const;
  // What a token inside a text stands for, as bytes, which need not be whole characters: nothing is taken off as at a text's
  // begin.
  std::string token_bytes(const std::string& token) const;

 private:
  struct Step {
    DecoderStep what;
    std::vector<Regex> pattern;  // one for kReplace
  };
  std::string one(const Step& step, const std::string& token, bool first) const;
  std::vector<Step> steps_;
};

}  // namespace fathom
