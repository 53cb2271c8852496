// Characters of the interpreter's strings: code points, Python's classes of them, upper and lower case.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_text.h"
#include "text/unicode.h"

namespace fathom::jinja {

template <class Body>
void for_each_character(const Text& text, Body&& body) {  // body(code point, begin, end)
  const char* const start = text.bytes().data();
  const char* const end = start + text.size();
  for (const char* p = start; p < end;) {
    const auto begin = static_cast<size_t>(p - start);
    const char32_t c = next_code_point(p);
    body(c, begin, static_cast<size_t>(p - start));
  }
}
inline size_t count_characters(std::string_view bytes) {
  size_t n = 0;
  for (const char c : bytes) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}
std::vector<size_t> character_starts(std::string_view bytes);  // and the end

bool is_space(char32_t c);      // str.isspace, str.strip
bool is_line_end(char32_t c);   // str.splitlines
bool is_printable(char32_t c);  // str.isprintable: what repr does not escape
bool is_alpha(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
Text upper(const Text& text);
Text lower(const Text& text);
Text capitalized(const Text& text);  // the first character upper, the rest lower
// Behind which byte leading, before which trailing characters of `set` end (white space where null).
size_t strip_left(const Text& text, const std::string* set);
size_t strip_right(const Text& text, const std::string* set, size_t from);
std::vector<Text> split_lines(const Text& text);  // str.splitlines()

}  // namespace fathom::jinja
