// Code points, their classes as the splitting patterns name them, repair of ill-formed UTF-8, and normal forms.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

// General categories that the patterns of tokenizers name; kSpace is Unicode's White_Space, kNewline CR and LF.
enum CharClass : uint8_t { kLetter = 1, kMark = 2, kNumber = 4, kPunctuation = 8, kSymbol = 16, kSpace = 32, kNewline = 64 };
uint8_t char_class(char32_t c);
const uint8_t* bmp_classes();  // the classes of U+0000..U+FFFF

// The code point at p, which is advanced. The text must be well-formed.
inline char32_t next_code_point(const char*& p) {
  const auto b = static_cast<unsigned char>(*p++);
  const auto more = [&] { return static_cast<char32_t>(static_cast<unsigned char>(*p++) & 0x3F); };
  if (b < 0x80) return b;
  if (b < 0xE0) return (char32_t{b} & 0x1F) << 6 | more();
  if (b < 0xF0) {
    const char32_t high = (char32_t{b} & 0x0F) << 12 | more() << 6;
    return high | more();
  }
  char32_t c = (char32_t{b} & 0x07) << 18 | more() << 12;
  c |= more() << 6;
  return c | more();
}
void append_utf8(std::string& out, char32_t c);

// Length of the well-formed sequence at the start of `s`, or, with `valid` false, of its maximal ill-formed part:
// what becomes one U+FFFD (Unicode 15, 3.9, "substitution of maximal subparts"). `incomplete`: more bytes could mend it.
struct Utf8Sequence {
  size_t length;
  bool valid, incomplete;
};
Utf8Sequence utf8_sequence(std::string_view s);
std::string replace_invalid_utf8(std::string_view text);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };  // Unicode Standard Annex 15
// text must be well-formed. steps, where given, grows by the work done.
std::string normal_form(std::string_view text, NormalForm form, int64_t* steps = nullptr);
std::string lower_case(std::string_view text);  // character by character: a final sigma is not seen as one
bool is_word_character(char32_t c);             // letter, mark, digit, connector or joiner: \w of Unicode's TR 18

}  // namespace fathom
