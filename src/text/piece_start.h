// The symbols with which the merging of a piece may begin. A character of several bytes that its own merges make one token is
// one symbol from the start, where no token holds a part of it together with what stands beside it: then its bytes can join
// nothing before they are the whole character, so the result is that of starting from bytes.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"

namespace fathom {

class PieceStart {
 public:
  // merged: the bytes of every token that a merge makes.
  PieceStart(const MergeTable& merges, const std::array<int32_t, 256>& id_of_byte, const std::vector<std::string_view>& merged);
  PieceStart() = default;
  // Fills ids with the symbols of a well-formed piece, ranks with those of their pairs, kNone behind the last.
  void symbols(const MergeTable& merges, std::string_view piece, std::vector<int32_t>& ids, std::vector<int32_t>& ranks) const;

 private:
  static size_t pair(unsigned char a, unsigned char b) { return static_cast<size_t>(a) << 8 | b; }
  std::array<int32_t, 256> id_of_byte_{};
  std::vector<int32_t> byte_pair_rank_;   // of the merge of two bytes
  std::vector<int32_t> id_of_character_;  // of U+0080..U+FFFF; -1: not one token
  // Some token ends within a character that begins with the second byte, behind the first; or begins within a character
  // that ends with the first byte, before the second.
  std::bitset<65536> cut_behind_, cut_before_;
};

}  // namespace fathom
