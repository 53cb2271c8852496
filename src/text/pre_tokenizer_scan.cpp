#include "text/pre_tokenizer_scan.h"

#include <cstring>

#include "text/unicode.h"

namespace fathom {
namespace {

// A well-formed text and the classes of its characters; p is always at the start of a character.
struct Scan {
  const char* begin;
  const char* end;
  int64_t& steps;
  const uint8_t* bmp = bmp_classes();

  uint8_t read(const char*& p) const {  // class of the character at p; p moves behind it
    const auto b = static_cast<unsigned char>(*p);
    if (b < 0x80) {
      ++p;
      return bmp[b];
    }
    const char32_t c = next_code_point(p);
    return c < 0x10000 ? bmp[c] : char_class(c);
  }
  const char* skip(const char* p, uint8_t classes) const {  // behind the run of characters of any of these classes
    const char* const start = p;
    while (p < end) {
      const char* next = p;
      if ((read(next) & classes) == 0) break;
      p = next;
    }
    steps += p - start + 1;
    return p;
  }
  const char* skip_newlines(const char* p) const {
    while (p < end && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }
  // \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to its last newline; else all of it at the end; else all but the last
  // character, which goes to the word behind; a single one stays alone.
  const char* white_space(const char* const from) const {
    const char *newline = nullptr, *p = from, *last = p;
    while (p < end) {
      const char* next = p;
      const uint8_t bits = read(next);
      if ((bits & kSpace) == 0) break;
      last = p;
      p = next;
      if (bits & kNewline) newline = p;
    }
    steps += p - from + 1;
    if (newline) return newline;
    return p == end || last == from ? p : last;
  }
};

bool ascii_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool ascii_punctuation(char c) { return c > ' ' && c < 0x7F && !ascii_letter(c) && (c < '0' || c > '9'); }

// The third pattern of DeepSeek-V3 on one piece of the earlier two. Returns the end of the match at p; p where none is.
const char* deepseek_match(const Scan& s, const char* p) {
  if (ascii_punctuation(*p) && p + 1 < s.end && ascii_letter(p[1])) {
    p += 2;
    while (p < s.end && ascii_letter(*p)) ++p;
    return p;
  }
  const char* second = p;
  const uint8_t first = s.read(second);
  if (first & (kLetter | kMark)) return s.skip(second, kLetter | kMark);
  if (!(first & (kNewline | kPunctuation | kSymbol))) {
    const char* word = s.skip(second, kLetter | kMark);
    if (word != second) return word;
  }
  const char* marks = *p == ' ' ? second : p;
  const char* marks_end = s.skip(marks, kPunctuation | kSymbol);
  if (marks_end != marks) return s.skip_newlines(marks_end);
  if (first & kSpace) return s.white_space(p);
  return p;
}

void deepseek_words(const char* text, const char* begin, const char* end, std::vector<size_t>& ends, int64_t& steps) {
  const Scan s{begin, end, steps};
  const char* piece = begin;
  for (const char* p = begin; p < end;) {
    const char* match = deepseek_match(s, p);
    if (match == p) {  // a character of no class (control, unassigned): part of a gap
      s.read(p);
      continue;
    }
    if (piece != p) ends.push_back(static_cast<size_t>(p - text));
    ends.push_back(static_cast<size_t>(match - text));
    piece = p = match;
  }
  if (piece != end) ends.push_back(static_cast<size_t>(end - text));
}

}  // namespace

void scan_deepseek_v3(std::string_view text, std::vector<size_t>& ends, int64_t& steps) {
  const Scan s{text.data(), text.data() + text.size(), steps};
  steps += static_cast<int64_t>(text.size());
  enum Kind { kNone, kDigits, kCjk, kOther } kind = kNone;
  const char* piece = s.begin;
  int digits = 0;
  const auto flush = [&](const char* at) {
    if (kind == kDigits) ends.push_back(static_cast<size_t>(at - s.begin));
    if (kind == kCjk || kind == kOther) deepseek_words(s.begin, piece, at, ends, steps);
    piece = at;
  };
  for (const char* p = s.begin; p < s.end;) {
    const char* here = p;
    Kind next;
    if (static_cast<unsigned char>(*p) < 0x80) {
      next = *p >= '0' && *p <= '9' ? kDigits : kOther;
      ++p;
    } else {
      const char32_t c = next_code_point(p);
      const bool cjk = (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
      next = cjk ? kCjk : (c < 0x10000 ? s.bmp[c] : char_class(c)) & kNumber ? kDigits : kOther;
    }
    if (next != kind || (kind == kDigits && digits == 3)) {
      flush(here);
      kind = next;
      digits = 0;
    }
    ++digits;
  }
  flush(s.end);
}

void scan_qwen2(std::string_view text, int max_digits, std::vector<size_t>& ends, int64_t& steps) {
  const Scan s{text.data(), text.data() + text.size(), steps};
  steps += static_cast<int64_t>(text.size());
  // (?i:'s|'t|'re|'ve|'m|'ll|'d); U+017F, the long s, is an s without regard to case.
  const auto contraction = [&](const char* p) -> const char* {
    if (*p != '\'' || p + 1 >= s.end) return nullptr;
    const auto lower = [](char c) { return static_cast<char>(c | 0x20); };
    const char a = p[1];
    if (ascii_letter(a)) {
      const char b = p + 2 < s.end && ascii_letter(p[2]) ? lower(p[2]) : '\0';
      switch (lower(a)) {
        case 's':
        case 't':
        case 'm':
        case 'd':
          return p + 2;
        case 'r':
        case 'v':
          return b == 'e' ? p + 3 : nullptr;
        case 'l':
          return b == 'l' ? p + 3 : nullptr;
        default:
          return nullptr;
      }
    }
    return p + 2 < s.end && a == '\xC5' && p[2] == '\xBF' ? p + 3 : nullptr;
  };
  const auto match = [&](const char* p) {
    if (const char* end = contraction(p)) return end;
    const char* second = p;
    const uint8_t first = s.read(second);
    if (first & kLetter) return s.skip(second, kLetter);
    if (!(first & (kNewline | kNumber))) {
      const char* word = s.skip(second, kLetter);
      if (word != second) return word;
    }
    if (first & kNumber) {
      for (int i = 1; i < max_digits && second < s.end; ++i) {
        const char* next = second;
        if (!(s.read(next) & kNumber)) break;
        second = next;
      }
      return second;
    }
    // ' '?[^\s\p{L}\p{N}]+[\r\n]*
    const char* other = *p == ' ' ? second : p;
    const char* q = other;
    while (q < s.end) {
      const char* next = q;
      if (s.read(next) & (kSpace | kLetter | kNumber)) break;
      q = next;
    }
    steps += q - other + 1;
    if (q != other) return s.skip_newlines(q);
    return s.white_space(p);
  };
  for (const char* p = s.begin; p < s.end;) {
    p = match(p);
    ends.push_back(static_cast<size_t>(p - s.begin));
  }
}

}  // namespace fathom
