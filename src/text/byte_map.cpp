#include "text/byte_map.h"

#include <array>

#include "text/unicode.h"

namespace fathom {
namespace {

struct ByteMap {
  std::array<char32_t, 256> character{};
  std::array<int, 0x144> byte{};
  ByteMap() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool stays = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      character[b] = stays ? b : next++;
      byte[character[b]] = static_cast<int>(b);
    }
  }
};
const ByteMap& byte_map() {
  static const ByteMap map;
  return map;
}

}  // namespace

char32_t byte_to_character(unsigned char byte) { return byte_map().character[byte]; }

std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, byte_to_character(static_cast<unsigned char>(b)));
  return out;
}

std::optional<std::string> characters_to_bytes(std::string_view characters) {
  const ByteMap& map = byte_map();
  std::string out;
  for (const char *p = characters.data(), *end = p + characters.size(); p < end;) {
    const char32_t c = next_code_point(p);
    if (c >= map.byte.size() || map.byte[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(map.byte[c]));
  }
  return out;
}

}  // namespace fathom
