#include "text/pre_tokenizer.h"

#include "text/pre_tokenizer_scan.h"
#include "text/regex.h"

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

// Appends the ends of the pieces of text[begin, end): the matches and the gaps between them.
void split_piece(const Regex& regex, std::string_view text, size_t begin, size_t end, Regex::Match& match,
                 std::vector<size_t>& ends) {
  size_t last = begin;  // end of the last piece
  regex.find_all(text.substr(begin, end - begin), match, [&](size_t from, size_t to) {
    if (begin + from != last) ends.push_back(begin + from);
    if (from != to) ends.push_back(begin + to);
    last = begin + to;
  });
  if (last != end) ends.push_back(end);
}

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
    Regex::Match match(regex);
    finer.clear();
    size_t begin = 0;
    for (const size_t end : ends) {
      split_piece(regex, text, begin, end, match, finer);
      begin = end;
    }
    ends.swap(finer);
    steps += static_cast<int64_t>(text.size());
  }
}

}  // namespace fathom
