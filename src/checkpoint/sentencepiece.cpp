#include "checkpoint/sentencepiece.h"

#include <algorithm>
#include <unordered_map>

#include "base/utf8.h"

namespace fathom {

std::vector<PieceMerge> sentencepiece_merges(const std::vector<Piece>& pieces, std::string& error) {
  constexpr size_t kLongest = 1024;  // all ways to cut a piece are looked at
  std::unordered_map<std::string_view, int32_t> index;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string shown = "token " + std::to_string(pieces[i].id) + " '" + printable(pieces[i].text, 40) + "'";
    if (pieces[i].text.size() > kLongest)
      error =
          shown + " has " + std::to_string(pieces[i].text.size()) + " bytes; " + std::to_string(kLongest) + " are supported";
    else if (!index.emplace(pieces[i].text, static_cast<int32_t>(i)).second)
      error = shown + " has the text of another one";
    if (!error.empty()) return {};
  }
  const auto ends_character = [](std::string_view text, size_t at) {
    return at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
  };
  std::vector<PieceMerge> merges;
  std::vector<int32_t> results;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view text = pieces[i].text;
    size_t begin = 0, characters = 0;  // of the character at hand
    std::string_view lacking;
    for (size_t at = 1; at <= text.size(); ++at) {
      if (!ends_character(text, at)) continue;
      if (!index.contains(text.substr(begin, at - begin))) lacking = text.substr(begin, at - begin);
      begin = at;
      ++characters;
      const std::string_view left = text.substr(0, at), right = text.substr(at);
      if (right.empty() || !index.contains(left) || !index.contains(right)) continue;
      merges.push_back({left, right, static_cast<int32_t>(i)});
      if (results.empty() || results.back() != static_cast<int32_t>(i)) results.push_back(static_cast<int32_t>(i));
    }
    if (characters > 1 && !lacking.empty()) {
      error = "token " + std::to_string(pieces[i].id) + " '" + printable(text, 40) + "' holds '" + printable(lacking) +
              "', which is no token itself";
      return {};
    }
  }
  std::sort(results.begin(), results.end(), [&](int32_t a, int32_t b) { return pieces[a].score > pieces[b].score; });
  for (size_t i = 0; i + 1 < results.size(); ++i) {
    const Piece &a = pieces[results[i]], &b = pieces[results[i + 1]];
    if (a.score != b.score) continue;
    error = "tokens " + std::to_string(a.id) + " '" + printable(a.text, 40) + "' and " + std::to_string(b.id) + " '" +
            printable(b.text, 40) + "' have the same score: which of them is made first is not known";
    return {};
  }
  std::stable_sort(merges.begin(), merges.end(), [&](const PieceMerge& a, const PieceMerge& b) {
    const float x = pieces[a.result].score, y = pieces[b.result].score;
    return x != y ? x > y : a.left.size() > b.left.size();
  });
  return merges;
}

}  // namespace fathom
