#include "text/normalizer.h"

#include <algorithm>

namespace fathom {
namespace {

bool is_space_before(std::string_view text, size_t end, size_t& begin) {
  begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  const char* p = text.data() + begin;
  return (char_class(next_code_point(p)) & kSpace) != 0;
}

std::string without_accents(std::string_view text) {
  std::string out;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const char* const from = p;
    if (!(char_class(next_code_point(p)) & kMark)) out.append(from, p);
  }
  return out;
}

}  // namespace

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps) {
  for (const NormalizerStep& step : steps) {
    steps_.push_back({step, {}});
    if (step.kind == NormalizerStep::kReplace)
      steps_.back().pattern.push_back(step.regex ? Regex(step.pattern) : Regex::literal(step.pattern));
  }
}

Normalizer::Result Normalizer::apply(std::string_view text, bool continues, int64_t& steps) const {
  Result out{std::string(text), false};
  for (const Step& step : steps_) {
    steps += static_cast<int64_t>(out.text.size());
    switch (step.what.kind) {
      case NormalizerStep::kForm:
        out.text = normal_form(out.text, step.what.form, &steps);
        break;
      case NormalizerStep::kLowercase:
        out.text = lower_case(out.text);
        break;
      case NormalizerStep::kStripAccents: {
        const char* p = out.text.data();
        out.cut_left |= !out.text.empty() && (char_class(next_code_point(p)) & kMark) != 0;
        out.text = without_accents(out.text);
        break;
      }
      case NormalizerStep::kStrip: {
        size_t begin = 0, end = out.text.size();
        for (size_t at = 0; step.what.right && end > 0 && is_space_before(out.text, end, at);) end = at;
        while (step.what.left && !continues && begin < end) {
          const char* p = out.text.data() + begin;
          if (!(char_class(next_code_point(p)) & kSpace)) break;
          begin = static_cast<size_t>(p - out.text.data());
        }
        // Of a character that a step before took apart (U+1FCD begins with a blank then) something is left.
        const char* first = text.data();
        out.cut_left |= begin > 0 && (char_class(next_code_point(first)) & kSpace) != 0;
        out.text = out.text.substr(begin, end - begin);
        break;
      }
      case NormalizerStep::kPrepend:
        if (!out.text.empty() && !continues) out.text.insert(0, step.what.content);
        break;
      case NormalizerStep::kReplace: {
        const Regex& pattern = step.pattern.front();
        Regex::Match match(pattern);
        if (step.what.content.empty())
          pattern.find_all(out.text, match, [&](size_t begin, size_t end) { out.cut_left |= begin == 0 && end > 0; });
        out.text = pattern.replaced(out.text, step.what.content, match);
        break;
      }
    }
  }
  return out;
}

}  // namespace fathom
