#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace fathom {
namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// \s is Unicode's White_Space to the tokenizers library; PCRE2's own \s is another set (U+180E).
std::string with_white_space(const std::string& pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    const char c = pattern[++i];
    out += c == 's' ? "\\p{White_Space}" : c == 'S' ? "\\P{White_Space}" : std::string("\\") + c;
  }
  return out;
}

struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

}  // namespace

struct Regex::Impl {
  std::string literal;  // looked for as it is where there is no code
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

Regex::Regex() : impl_(std::make_unique<Impl>()) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex Regex::literal(const std::string& text) {
  if (text.empty()) return Regex("");
  Regex regex;
  regex.impl_->literal = text;
  return regex;
}

Regex::Regex(const std::string& pattern) : Regex() {
  if (const int64_t bad = first_invalid_utf8(pattern); bad >= 0)
    fail_usage("tokenizer", "the split pattern is not UTF-8 at byte " + std::to_string(bad));
  const std::string source = with_white_space(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto& code = impl_->code;
  code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (!code)
    fail_usage("tokenizer", "the split pattern '" + printable(pattern) + "' does not compile at byte " +
                                std::to_string(offset) + ": " + pcre2_message(error));
  const int jit = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  if (jit != 0 && jit != PCRE2_ERROR_JIT_BADOPTION && jit != PCRE2_ERROR_NOMEMORY)
    fail_usage("tokenizer", "the split pattern cannot be compiled to machine code: " + pcre2_message(jit));
  auto& context = impl_->context;
  context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), 10'000'000);
  pcre2_set_depth_limit(context.get(), 100'000);
  pcre2_set_heap_limit(context.get(), 1 << 18);  // KiB
}

Regex::Match::Match(const Regex& regex)
    : data_(regex.impl_->code ? pcre2_match_data_create_from_pattern(regex.impl_->code.get(), nullptr) : nullptr) {}
Regex::Match::~Match() { pcre2_match_data_free(static_cast<pcre2_match_data*>(data_)); }

size_t Regex::behind_character(std::string_view text, size_t at) {
  if (at >= text.size()) return at + 1;
  const char* p = text.data() + at;
  next_code_point(p);
  return static_cast<size_t>(p - text.data());
}

bool Regex::find(std::string_view text, size_t from, Match& match, size_t& begin, size_t& end) const {
  if (!impl_->code) {
    begin = text.find(impl_->literal, from);
    end = begin + impl_->literal.size();
    return begin != std::string_view::npos;
  }
  auto* data = static_cast<pcre2_match_data*>(match.data_);
  const int n = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK,
                            data, impl_->context.get());
  if (n == PCRE2_ERROR_NOMATCH) return false;
  if (n < 0)
    fail_usage("tokenizer", "the split pattern gave up on a piece of " + std::to_string(text.size()) +
                                " bytes: " + pcre2_message(n) + "; it needs too much backtracking for this text");
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data);
  begin = offsets[0], end = offsets[1];
  if (end < begin || begin < from) fail_usage("tokenizer", "the split pattern ends before it begins (\\K in a look-around)");
  return true;
}

std::string Regex::replaced(std::string_view text, std::string_view content, Match& match) const {
  std::string out;
  if (text.empty()) return out;
  size_t done = 0;
  find_all(text, match, [&](size_t begin, size_t end) {
    out.append(text, done, begin - done);
    out += content;
    done = end;
  });
  out.append(text, done);
  return out;
}

}  // namespace fathom
