#include "text/bpe.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <string>

#include "base/rng.h"
#include "text/piece_start.h"

namespace fathom {
namespace {

// Lowest rank first, leftmost first, one merge at a time.
std::vector<int32_t> merged_slowly(const MergeTable& merges, std::vector<int32_t> ids) {
  for (;;) {
    int32_t best = MergeTable::kNone;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      if (const int32_t rank = merges.rank(ids[i], ids[i + 1]); rank < best) best = rank, at = i;
    if (best == MergeTable::kNone) return ids;
    ids[at] = merges.merged(best);
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, ShortAndLongPiecesEqualTheSlowOracle) {
  Rng rng(6, RngStream::kTest);
  BpeScratch scratch;
  for (int round = 0; round < 400; ++round) {
    // Random merges over a small alphabet, ranks not in the order of the ids.
    MergeTable merges;
    const int32_t alphabet = 2 + static_cast<int32_t>(rng.next_below(4));
    for (int32_t id = alphabet, rank = 0; id < alphabet + 30; ++id, ++rank)
      merges.set(static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(id))),
                 static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(id))), rank * 7 % 30, id);
    std::vector<int32_t> ids(1 + rng.next_below(round % 2 ? 40 : 300));
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(alphabet)));
    const auto expected = merged_slowly(merges, ids);
    merge_piece(merges, ids, scratch);
    ASSERT_EQ(ids, expected) << "round " << round;
  }
}

// Merges learned on random cuts of text in several scripts, so that tokens that end inside a character are among them:
// whole characters from the start give what bytes give.
TEST(Bpe, WholeCharactersFromTheStartEqualBytes) {
  const char* const characters[] = {"\u4E2D", "\u4E2E",     "\u56FD", "\u3042", "\u00E9", "\u00EA",
                                    "\u0416", "\U0001F600", "a",      " ",      "\uFF0C"};
  Rng rng(11, RngStream::kTest);
  std::array<int32_t, 256> id_of_byte;
  for (int32_t b = 0; b < 256; ++b) id_of_byte[static_cast<size_t>(b)] = b;
  BpeScratch scratch;
  int64_t whole = 0, symbols = 0;
  for (int round = 0; round < 300; ++round) {
    const auto sample = [&](uint64_t n) {
      std::string text;
      for (; n > 0; --n) text += characters[rng.next_below(std::size(characters))];
      return text;
    };
    std::vector<std::string> tokens;
    for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
    MergeTable merges;
    int32_t rank = 0;
    const auto join = [&](int32_t left, int32_t right) {
      if (merges.rank(left, right) != MergeTable::kNone) return;
      merges.set(left, right, rank++, static_cast<int32_t>(tokens.size()));
      tokens.push_back(tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)]);
    };
    const uint64_t odd = rng.next_below(3);  // of four merges, how many join whatever stands beside each other
    for (int i = 0; i < 60; ++i) {
      std::vector<int32_t> ids;
      for (const char c : sample(1 + rng.next_below(3))) ids.push_back(static_cast<unsigned char>(c));
      merge_piece(merges, ids, scratch);
      if (ids.size() < 2) continue;
      const size_t at = rng.next_below(4) < odd ? rng.next_below(ids.size() - 1) : 0;
      join(ids[at], ids[at + 1]);
    }
    const std::vector<std::string_view> merged(tokens.begin() + 256, tokens.end());
    const PieceStart start(merges, id_of_byte, merged);
    for (int i = 0; i < 40; ++i) {
      const std::string piece = sample(1 + rng.next_below(i % 8 == 0 ? 60 : 8));
      std::vector<int32_t> from_bytes, ids;
      for (const char c : piece) from_bytes.push_back(static_cast<unsigned char>(c));
      merge_piece(merges, from_bytes, scratch);
      start.symbols(merges, piece, ids, scratch.ranks);
      whole += static_cast<int64_t>(piece.size() - ids.size());
      symbols += static_cast<int64_t>(ids.size());
      merge_piece(merges, ids, scratch, /*ranks_known=*/true);
      ASSERT_EQ(ids, from_bytes) << "round " << round;
    }
  }
  EXPECT_GT(whole, symbols / 10);  // the short way was taken
}

}  // namespace
}  // namespace fathom
