#include "text/character_bpe.h"

#include <cstdio>

#include "base/check.h"
#include "text/unicode.h"

namespace fathom {
namespace {

// The one code point of a text; -1 where it is none or several.
int64_t only_character(std::string_view text) {
  if (text.empty()) return -1;
  const char* p = text.data();
  const char32_t c = next_code_point(p);
  return p == text.data() + text.size() ? static_cast<int64_t>(c) : -1;
}
char32_t first_character(std::string_view text) {
  const char* p = text.data();
  return next_code_point(p);
}
char32_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return first_character(text.substr(at));
}

}  // namespace

CharacterBpe::CharacterBpe(std::unordered_map<std::string, int32_t> vocab, const std::vector<Merge>& merges,
                           const Options& options)
    : options_(options), vocab_(std::move(vocab)), bmp_(0x10000, -1) {
  for (const auto& [text, id] : vocab_) {
    const int64_t c = only_character(text);
    if (c >= 0x10000)
      astral_.emplace(static_cast<char32_t>(c), id);
    else if (c >= 0)
      bmp_[static_cast<size_t>(c)] = id;
  }
  id_of_byte_.fill(-1);
  std::vector<int32_t> others;  // symbols that are no character
  if (options_.unk >= 0) others.push_back(options_.unk);
  if (options_.byte_fallback)
    for (size_t b = 0; b < 256; ++b) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
      id_of_byte_[b] = id_of(name);
      if (id_of_byte_[b] >= 0) others.push_back(id_of_byte_[b]);
    }
  std::vector<bool> other;
  for (const int32_t id : others) {
    if (other.size() <= static_cast<size_t>(id)) other.resize(static_cast<size_t>(id) + 1);
    other[static_cast<size_t>(id)] = true;
  }
  const auto is_other = [&](int32_t id) { return static_cast<size_t>(id) < other.size() && other[static_cast<size_t>(id)]; };
  merges_.reserve(merges.size());
  for (const Merge& m : merges) {
    merges_.set(m.left_id, m.right_id, m.rank, m.id);
    if (is_other(m.left_id) || is_other(m.right_id)) parts_ = false;
    const int32_t before = id_of_character(last_character(m.left)), behind = id_of_character(first_character(m.right));
    if (before >= 0 && behind >= 0) joints_.set(before, behind, 0, 0);
  }
}

int32_t CharacterBpe::id_of_character(char32_t c) const {
  if (c < 0x10000) return bmp_[c];
  const auto found = astral_.find(c);
  return found == astral_.end() ? -1 : found->second;
}

void CharacterBpe::start(std::string_view word, std::vector<Scratch::Symbol>& symbols) const {
  symbols.clear();
  Scratch::Symbol unknown{-1, 0, 0};
  const auto flush = [&] {
    if (unknown.id >= 0) symbols.push_back(unknown);
    unknown.id = -1;
  };
  for (const char *p = word.data(), *end = p + word.size(); p < end;) {
    const char* const from = p;
    const int32_t id = id_of_character(next_code_point(p));
    const auto begin = static_cast<size_t>(from - word.data()), behind = static_cast<size_t>(p - word.data());
    if (id >= 0) {
      flush();
      symbols.push_back({id, begin, behind});
      continue;
    }
    if (options_.byte_fallback) {
      bool all = true;
      for (size_t i = begin; i < behind; ++i) all &= id_of_byte_[static_cast<unsigned char>(word[i])] >= 0;
      if (all) {
        // An unknown character before it comes behind it, as in the tokenizers library; only vocabularies without all bytes
        // have any.
        for (size_t i = begin; i < behind; ++i)
          symbols.push_back({id_of_byte_[static_cast<unsigned char>(word[i])], begin, behind});
        continue;
      }
    }
    if (options_.unk < 0) continue;
    if (unknown.id >= 0 && !options_.fuse_unk) flush();
    unknown.id = options_.unk;
    unknown.end = behind;
  }
  flush();
}

void CharacterBpe::encode(std::string_view word, Scratch& scratch, BpeScratch& bpe, PieceCache& cache,
                          std::vector<int32_t>& out) const {
  if (options_.ignore_merges)
    if (const int32_t id = id_of(std::string(word)); id >= 0) return out.push_back(id);
  auto& symbols = scratch.symbols;
  auto& ids = scratch.ids;
  start(word, symbols);
  bpe.steps += static_cast<int64_t>(symbols.size());
  for (size_t i = 0; i < symbols.size();) {
    size_t end = i + 1;
    while (end < symbols.size() && (!parts_ || joints_.rank(symbols[end - 1].id, symbols[end].id) != MergeTable::kNone)) ++end;
    if (end == i + 1) {
      out.push_back(symbols[i++].id);
      continue;
    }
    const std::string_view part = word.substr(symbols[i].begin, parts_ ? symbols[end - 1].end - symbols[i].begin : 0);
    const bool cached = parts_ && part.size() <= PieceCache::kMaxBytes;
    const uint64_t hash = cached ? PieceCache::hash(part) : 0;
    if (!cached || !cache.append(part, hash, out)) {
      ids.clear();
      for (size_t k = i; k < end; ++k) ids.push_back(symbols[k].id);
      merge_piece(merges_, ids, bpe);
      out.insert(out.end(), ids.begin(), ids.end());
      if (cached) cache.put(part, hash, ids.data(), ids.size());
    }
    i = end;
  }
}

}  // namespace fathom
