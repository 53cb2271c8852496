#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace fathom {
namespace {

// The character before `at`.
const char* step_back(const char* begin, const char* at) {
  do --at;
  while (at > begin && (static_cast<unsigned char>(*at) & 0xC0) == 0x80);
  return at;
}
bool word_before(std::string_view text, size_t at) {
  if (at == 0) return false;
  const char* p = step_back(text.data(), text.data() + at);
  return is_word_character(next_code_point(p));
}
bool word_after(std::string_view text, size_t at) {
  if (at == text.size()) return false;
  const char* p = text.data() + at;
  return is_word_character(next_code_point(p));
}

}  // namespace

AddedTokenFinder::AddedTokenFinder() : nodes_(1) {}

void AddedTokenFinder::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    auto& children = nodes_[node].children;
    const auto child = std::find_if(children.begin(), children.end(), [&](const auto& x) { return x.first == byte; });
    if (child != children.end()) {
      node = child->second;
      continue;
    }
    const auto fresh = static_cast<int32_t>(nodes_.size());
    children.emplace_back(byte, fresh);
    nodes_.emplace_back();
    node = fresh;
  }
  first_[static_cast<unsigned char>(content[0])] = true;
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenFinder::longest_at(std::string_view text, size_t at, size_t limit, size_t& end) const {
  int32_t found = -1;
  for (int32_t node = 0; at < limit;) {
    const auto byte = static_cast<unsigned char>(text[at++]);
    const auto& children = nodes_[node].children;
    const auto child = std::find_if(children.begin(), children.end(), [&](const auto& x) { return x.first == byte; });
    if (child == children.end()) break;
    node = child->second;
    if (nodes_[node].token >= 0) {
      found = nodes_[node].token;
      end = at;
    }
  }
  return found;
}

void AddedTokenFinder::find(std::string_view text, bool specials_as_text, std::span<const TextSpan> plain,
                            std::vector<Part>& parts) const {
  parts.clear();
  size_t done = 0, next_plain = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    while (next_plain < plain.size() && plain[next_plain].end <= at) ++next_plain;
    const size_t limit = next_plain < plain.size() ? plain[next_plain].begin : text.size();
    if (at >= limit) {
      at = plain[next_plain].end;
      continue;
    }
    if (!first_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    size_t end = at;
    const int32_t index = longest_at(text, at, limit, end);
    if (index < 0) {
      ++at;
      continue;
    }
    // A match that is refused is passed over whole: no shorter token in its place.
    const AddedToken& token = tokens_[index];
    size_t begin = at;
    at = end;
    if (token.special && specials_as_text) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip)
      while (begin > done) {
        const char* p = step_back(text.data(), text.data() + begin);
        const auto before = static_cast<size_t>(p - text.data());
        if (before < done || !(char_class(next_code_point(p)) & kSpace)) break;
        begin = before;
      }
    if (token.rstrip)
      while (end < text.size()) {
        const char* p = text.data() + end;
        if (!(char_class(next_code_point(p)) & kSpace)) break;
        end = static_cast<size_t>(p - text.data());
      }
    begin = std::max(begin, done);
    if (begin > done) parts.push_back({-1, done, begin});
    parts.push_back({token.id, begin, std::max(begin, end)});
    done = std::max(begin, end);
  }
  if (done < text.size()) parts.push_back({-1, done, text.size()});
}

}  // namespace fathom
