// BPE that starts from characters, as SentencePiece's models do: what the vocabulary lacks becomes byte tokens (<0xE4>), or the
// unknown token, or nothing.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/bpe.h"
#include "text/piece_cache.h"

namespace fathom {

class CharacterBpe {
 public:
  struct Options {
    bool byte_fallback = false;
    bool fuse_unk = false;       // a run of unknown characters is one token
    bool ignore_merges = false;  // a word that is a token is that token
    int32_t unk = -1;            // -1: characters that nothing stands for are dropped
  };
  struct Merge {
    std::string left, right;
    int32_t left_id, right_id, rank, id;
  };
  CharacterBpe(std::unordered_map<std::string, int32_t> vocab, const std::vector<Merge>& merges, const Options& options);

  // Buffers that live from word to word.
  struct Scratch {
    struct Symbol {
      int32_t id;
      size_t begin, end;  // in the word
    };
    std::vector<Symbol> symbols;
    std::vector<int32_t> ids;
  };
  // Appends the ids of a well-formed word of any length: n log n.
  void encode(std::string_view word, Scratch& scratch, BpeScratch& bpe, PieceCache& cache, std::vector<int32_t>& out) const;
  int32_t id_of(const std::string& token) const {  // -1: none
    const auto found = vocab_.find(token);
    return found == vocab_.end() ? -1 : found->second;
  }

 private:
  int32_t id_of_character(char32_t c) const;
  void start(std::string_view word, std::vector<Scratch::Symbol>& symbols) const;
  Options options_;
  std::unordered_map<std::string, int32_t> vocab_;
  std::vector<int32_t> bmp_;  // ids of U+0000..U+FFFF; -1: none
  std::unordered_map<char32_t, int32_t> astral_;
  std::array<int32_t, 256> id_of_byte_{};
  MergeTable merges_;
  // The pairs of characters at the joints of all merges: two symbols that are none of them stay apart whatever happens to
  // either, so that a word falls into parts there. Not where a byte token or the unknown one takes part in a merge.
  MergeTable joints_;
  bool parts_ = true;
};

}  // namespace fathom
