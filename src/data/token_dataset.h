// Documents as token ids, tokenised once and kept in memory.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

class TokenDataset {
 public:
  // Texts become bos text eos (bos where the tokenizer wants it, eos where it has one), every token trained; conversations
  // are rendered by the chat template, only the assistant's turns trained. No tokenizer (null): ids are bytes, nothing is
  // added.
  static TokenDataset from_files(const std::vector<std::string>& paths, const Tokenizer* tokenizer);

  // trained[i]: ids[i] is to be predicted; empty: all are.
  void add(std::span<const int32_t> ids, std::span<const uint8_t> trained = {});

  int64_t num_documents() const { return static_cast<int64_t>(begins_.size()) - 1; }
  int64_t num_tokens() const { return begins_.back(); }
  std::span<const int32_t> ids(int64_t document) const { return all_ids().subspan(begin(document), size(document)); }
  std::span<const int32_t> all_ids() const { return ids_; }  // all documents, one behind the other
  bool is_trained(int64_t token) const { return trained_.empty() || trained_[static_cast<size_t>(token)] != 0; }
  int64_t first_token(int64_t document) const { return begins_[static_cast<size_t>(document)]; }

  // Holds out the last fraction: whole documents, or, where there is only one, its last tokens.
  // Error (usage) where a side would be empty.
  std::pair<TokenDataset, TokenDataset> split(double held_out) const;

 private:
  size_t begin(int64_t d) const { return static_cast<size_t>(begins_[static_cast<size_t>(d)]); }
  size_t size(int64_t d) const { return static_cast<size_t>(begins_[static_cast<size_t>(d) + 1]) - begin(d); }
  void add_range(const TokenDataset& from, int64_t document, size_t skip, size_t count);
  std::vector<int32_t> ids_;
  std::vector<uint8_t> trained_;  // empty while every token is
  std::vector<int64_t> begins_{0};
};

}  // namespace fathom
