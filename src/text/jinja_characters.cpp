#include "text/jinja_characters.h"

#include <utf8proc.h>

namespace fathom::jinja {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

template <class Map>
Text mapped(const Text& text, Map&& map) {
  Text out;
  for_each_character(text, [&](char32_t c, size_t begin, size_t) {
    std::string bytes;
    map(c, bytes);
    out.append(bytes, text.marks()[begin]);
  });
  return out;
}
void add_upper(char32_t c, std::string& out) {
  if (c == 0xDF) {  // the one common letter whose capital is two
    out += "SS";
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}
void add_lower(char32_t c, std::string& out) {
  if (c == 0x130) {  // I with a dot above: i and the dot
    out += "i\u0307";
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

bool in_set(char32_t c, const std::string* set) {
  if (!set) return is_space(c);
  for (const char *p = set->data(), *end = p + set->size(); p < end;)
    if (next_code_point(p) == c) return true;
  return false;
}

}  // namespace

std::vector<size_t> character_starts(std::string_view bytes) {
  std::vector<size_t> out;
  for (size_t i = 0; i < bytes.size(); ++i)
    if ((static_cast<unsigned char>(bytes[i]) & 0xC0) != 0x80) out.push_back(i);
  out.push_back(bytes.size());
  return out;
}

bool is_space(char32_t c) { return (char_class(c) & kSpace) || (c >= 0x1C && c <= 0x1F); }
bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}
bool is_alpha(char32_t c) { return (char_class(c) & kLetter) != 0; }
bool is_digit(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t c) { return (char_class(c) & kNumber) != 0; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }

Text upper(const Text& text) { return mapped(text, add_upper); }
Text lower(const Text& text) { return mapped(text, add_lower); }
Text capitalized(const Text& text) {
  bool first = true;
  return mapped(text, [&](char32_t c, std::string& out) {
    first ? add_upper(c, out) : add_lower(c, out);
    first = false;
  });
}

size_t strip_left(const Text& text, const std::string* set) {
  const char* const start = text.bytes().data();
  const char* p = start;
  while (p < start + text.size()) {
    const char* next = p;
    if (!in_set(next_code_point(next), set)) break;
    p = next;
  }
  return static_cast<size_t>(p - start);
}
size_t strip_right(const Text& text, const std::string* set, size_t from) {
  size_t end = text.size();
  while (end > from) {
    size_t begin = end - 1;
    while (begin > from && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    const char* p = text.bytes().data() + begin;
    if (!in_set(next_code_point(p), set)) break;
    end = begin;
  }
  return end;
}

std::vector<Text> split_lines(const Text& text) {
  std::vector<Text> lines;
  size_t start = 0;
  bool after_cr = false;
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {
    const bool joined = after_cr && c == '\n';  // \r\n is one end
    after_cr = c == '\r';
    if (joined) {
      start = end;
    } else if (is_line_end(c)) {
      lines.push_back(text.slice(start, begin));
      start = end;
    }
  });
  if (start < text.size()) lines.push_back(text.slice(start, text.size()));
  return lines;
}

}  // namespace fathom::jinja
