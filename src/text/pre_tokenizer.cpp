#include "text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/pre_tokenizer_scan.h"
#include "text/unicode.h"

namespace fathom {
namespace {

const char kDigitsV3[] = "\\p{N}{1,3}";
const char kCjkV3[] = "[一-龥\u3040-ゟ゠-ヿ]+";
const char kWordsV3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
// %s: how digits are taken.
std::string qwen_pattern(const std::string& digits) {
  return "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" + digits +
         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
}

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

class Regex {
 public:
  explicit Regex(const std::string& pattern) {
    if (const int64_t bad = first_invalid_utf8(pattern); bad >= 0)
      fail_usage("tokenizer", "the split pattern is not UTF-8 at byte " + std::to_string(bad));
    const std::string source = with_white_space(pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
    if (!code_)
      fail_usage("tokenizer", "the split pattern '" + printable(pattern) + "' does not compile at byte " +
                                  std::to_string(offset) + ": " + pcre2_message(error));
    const int jit = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
    if (jit != 0 && jit != PCRE2_ERROR_JIT_BADOPTION && jit != PCRE2_ERROR_NOMEMORY)
      fail_usage("tokenizer", "the split pattern cannot be compiled to machine code: " + pcre2_message(jit));
    context_.reset(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(context_.get(), 10'000'000);
    pcre2_set_depth_limit(context_.get(), 100'000);
    pcre2_set_heap_limit(context_.get(), 1 << 18);  // KiB
  }

  struct MatchData {
    explicit MatchData(const Regex& regex) : data(pcre2_match_data_create_from_pattern(regex.code_.get(), nullptr)) {}
    ~MatchData() { pcre2_match_data_free(data); }
    MatchData(const MatchData&) = delete;
    MatchData& operator=(const MatchData&) = delete;
    pcre2_match_data* data;
  };

  // Appends the ends of the pieces of text[begin, end); what lies outside is not seen, not by look-around either.
  void split(std::string_view text, size_t begin, size_t end, MatchData& match, std::vector<size_t>& ends) const {
    const std::string_view piece = text.substr(begin, end - begin);
    size_t last = 0;  // end of the last piece
    for (size_t from = 0; from < piece.size();) {
      const int n = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), from, PCRE2_NO_UTF_CHECK,
                                match.data, context_.get());
      if (n == PCRE2_ERROR_NOMATCH) break;
      if (n < 0)
        fail_usage("tokenizer", "the split pattern gave up on a piece of " + std::to_string(piece.size()) +
                                    " bytes: " + pcre2_message(n) + "; it needs too much backtracking for this text");
      const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match.data);
      const size_t start = offsets[0], stop = offsets[1];
      if (stop < start) fail_usage("tokenizer", "the split pattern ends before it begins (\\K in a look-around)");
      if (start != last) ends.push_back(begin + start);
      if (stop != start) ends.push_back(begin + stop);
      last = from = stop;
      if (stop == start) {  // an empty match cuts, and the search goes on behind the next character
        if (from >= piece.size()) break;
        const char* p = piece.data() + from;
        next_code_point(p);
        from = static_cast<size_t>(p - piece.data());
      }
    }
    if (last != piece.size()) ends.push_back(end);
  }

 private:
  struct Free {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

}  // namespace

struct PreTokenizer::Impl {
  enum Kind { kPatterns, kDeepSeekV3, kQwen2, kLlama3 } kind = kPatterns;
  std::vector<Regex> regexes;
};

std::vector<std::string> PreTokenizer::deepseek_v3() { return {kDigitsV3, kCjkV3, kWordsV3}; }
std::string PreTokenizer::qwen2() { return qwen_pattern("\\p{N}"); }
std::string PreTokenizer::llama3() { return qwen_pattern("\\p{N}{1,3}"); }

PreTokenizer::PreTokenizer(const std::vector<std::string>& patterns) : impl_(std::make_unique<Impl>()) {
  if (patterns == deepseek_v3())
    impl_->kind = Impl::kDeepSeekV3;
  else if (patterns.size() == 1 && patterns[0] == qwen2())
    impl_->kind = Impl::kQwen2;
  else if (patterns.size() == 1 && patterns[0] == llama3())
    impl_->kind = Impl::kLlama3;
  else
    for (const std::string& pattern : patterns) impl_->regexes.emplace_back(pattern);
}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

bool PreTokenizer::is_scanned() const { return impl_->kind != Impl::kPatterns; }

void PreTokenizer::split(std::string_view text, std::vector<size_t>& ends, int64_t& steps) const {
  ends.clear();
  if (text.empty()) return;
  switch (impl_->kind) {
    case Impl::kDeepSeekV3:
      return scan_deepseek_v3(text, ends, steps);
    case Impl::kQwen2:
      return scan_qwen2(text, 1, ends, steps);
    case Impl::kLlama3:
      return scan_qwen2(text, 3, ends, steps);
    case Impl::kPatterns:
      break;
  }
  ends.push_back(text.size());
  std::vector<size_t> finer;
  for (const Regex& regex : impl_->regexes) {
    Regex::MatchData match(regex);
    finer.clear();
    size_t begin = 0;
    for (const size_t end : ends) {
      regex.split(text, begin, end, match, finer);
      begin = end;
    }
    ends.swap(finer);
    steps += static_cast<int64_t>(text.size());
  }
}

}  // namespace fathom
