#include "text/piece_start.h"

#include "text/unicode.h"

namespace fathom {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }
size_t length_of(char first) {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

}  // namespace

PieceStart::PieceStart(const MergeTable& merges, const std::array<int32_t, 256>& id_of_byte,
                       const std::vector<std::string_view>& merged)
    : id_of_byte_(id_of_byte), byte_pair_rank_(1 << 16), id_of_character_(0x10000, -1) {
  for (size_t i = 0; i < byte_pair_rank_.size(); ++i) byte_pair_rank_[i] = merges.rank(id_of_byte[i >> 8], id_of_byte[i & 255]);
  for (const std::string_view token : merged) {
    size_t head = 0;  // bytes that end a character
    while (head < token.size() && continues(token[head])) ++head;
    size_t whole = head;  // behind the last whole character
    while (whole < token.size() && whole + length_of(token[whole]) <= token.size()) whole += length_of(token[whole]);
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(token[i]); };
    if (head > 0 && head < token.size()) cut_before_.set(pair(byte(head - 1), byte(head)));
    if (whole > 0 && whole < token.size()) cut_behind_.set(pair(byte(whole - 1), byte(whole)));
  }
  BpeScratch scratch;
  std::vector<int32_t> ids;
  for (char32_t c = 0x80; c < 0x10000; ++c) {
    std::string bytes;
    append_utf8(bytes, c);
    bool joins = false;
    for (size_t i = 0; i + 1 < bytes.size(); ++i)
      joins |= byte_pair_rank_[pair(static_cast<unsigned char>(bytes[i]), static_cast<unsigned char>(bytes[i + 1]))] !=
               MergeTable::kNone;
    if (!joins) continue;
    ids.clear();
    for (const char b : bytes) ids.push_back(id_of_byte[static_cast<unsigned char>(b)]);
    merge_piece(merges, ids, scratch);
    if (ids.size() == 1) id_of_character_[c] = ids[0];
  }
}

void PieceStart::symbols(const MergeTable& merges, std::string_view piece, std::vector<int32_t>& ids,
                         std::vector<int32_t>& ranks) const {
  const size_t n = piece.size();
  ids.resize(n);
  ranks.resize(n);
  const auto* bytes = reinterpret_cast<const unsigned char*>(piece.data());
  size_t count = 0;
  bool previous_whole = false;
  for (size_t i = 0; i < n;) {
    const unsigned char b = bytes[i];
    if (b >= 0xC2 && b < 0xF0) {
      const char* p = piece.data() + i;
      const int32_t id = id_of_character_[next_code_point(p)];
      const auto end = static_cast<size_t>(p - piece.data());
      if (id >= 0 && (i == 0 || !cut_behind_[pair(bytes[i - 1], b)]) &&
          (end == n || !cut_before_[pair(bytes[end - 1], bytes[end])])) {
        if (count > 0) ranks[count - 1] = merges.rank(ids[count - 1], id);
        ids[count++] = id;
        previous_whole = true;
        i = end;
        continue;
      }
    }
    const int32_t id = id_of_byte_[b];
    if (count > 0) ranks[count - 1] = previous_whole ? merges.rank(ids[count - 1], id) : byte_pair_rank_[pair(bytes[i - 1], b)];
    ids[count++] = id;
    previous_whole = false;
    ++i;
  }
  ids.resize(count);
  ranks.resize(count);
  if (count > 0) ranks[count - 1] = MergeTable::kNone;
}

}  // namespace fathom
