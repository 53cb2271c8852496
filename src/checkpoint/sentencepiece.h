// The merges of a SentencePiece BPE, which lists tokens with scores and no merges.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct Piece {
  std::string_view text;  // well-formed
  int32_t id;
  float score;
};
struct PieceMerge {
  std::string_view left, right;
  int32_t result;  // index of the piece that they make
};
// Every way to put two pieces together to a third: by falling score of the third, then the longer left one first. `error` says
// why the pieces cannot be merged as llama.cpp does, in which case the list is empty: a character within a piece that is no
// piece itself, two results of one score, one text twice, a piece of more than 1,024 bytes.
std::vector<PieceMerge> sentencepiece_merges(const std::vector<Piece>& pieces, std::string& error);

}  // namespace fathom
