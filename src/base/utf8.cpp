#include "base/utf8.h"

#include <cstdio>

namespace fathom {
namespace {

// Length of the well-formed sequence at the start of `s`; 0 where it is ill-formed.
size_t sequence_length(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char b = byte(0);
  if (b < 0x80) return 1;
  const size_t length = b >= 0xC2 && b <= 0xDF ? 2 : (b & 0xF0) == 0xE0 ? 3 : b >= 0xF0 && b <= 0xF4 ? 4 : 0;
  if (length == 0 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned char second = byte(1);
  if ((b == 0xE0 && second < 0xA0) || (b == 0xED && second > 0x9F)) return 0;  // overlong; surrogates
  if ((b == 0xF0 && second < 0x90) || (b == 0xF4 && second > 0x8F)) return 0;  // overlong; above U+10FFFF
  return length;
}

}  // namespace

int64_t first_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = sequence_length(text.substr(at));
    if (length == 0) return static_cast<int64_t>(at);
    at += length;
  }
  return -1;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (at >= max_bytes) return out + "…";
    const size_t length = sequence_length(text.substr(at));
    const auto b = static_cast<unsigned char>(text[at]);
    // C1 controls (U+0080..U+009F) can drive a terminal too.
    const bool control = b < 0x20 || b == 0x7F || (b == 0xC2 && length == 2 && static_cast<unsigned char>(text[at + 1]) < 0xA0);
    if (length == 0 || control) {
      for (size_t i = 0; i < (length == 0 ? 1 : length); ++i) {
        char hex[8];
        std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(text[at + i]));
        out += hex;
      }
    } else {
      out.append(text.substr(at, length));
    }
    at += length == 0 ? 1 : length;
  }
  return out;
}

}  // namespace fathom
