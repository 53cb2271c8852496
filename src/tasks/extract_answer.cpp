#include <array>
#include <string_view>

#include "tasks/task.h"
#include "text/unicode.h"

namespace fathom {
namespace {

enum Tag { kThinkOpen, kThinkClose, kAnswerOpen, kAnswerClose };
constexpr std::array<std::string_view, 4> kTags = {"<think>", "</think>", "<answer>", "</answer>"};

// White space as Unicode has it, and the separators U+001C..U+001F.
bool is_blank(char32_t c) { return (char_class(c) & kSpace) != 0 || (c >= 0x1C && c <= 0x1F); }

std::string_view trimmed(std::string_view text) {
  while (!text.empty()) {
    if (!utf8_sequence(text).valid) break;
    const char* p = text.data();
    if (!is_blank(next_code_point(p))) break;
    text.remove_prefix(static_cast<size_t>(p - text.data()));
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const Utf8Sequence last = utf8_sequence(text.substr(start));
    const char* p = text.data() + start;
    if (!last.valid || start + last.length != text.size() || !is_blank(next_code_point(p))) break;
    text.remove_suffix(last.length);
  }
  return text;
}

}  // namespace

std::string answer_text(const std::string& answer) { return "<answer>" + answer + "</answer>"; }

ExtractedAnswer extract_answer(const std::string& output, bool starts_inside_think) {
  const std::string whole = starts_inside_think ? std::string(kTags[kThinkOpen]) + output : output;
  const std::string_view text = whole;
  ExtractedAnswer out;
  std::array<size_t, 4> first{}, count{};
  for (size_t tag = 0; tag < kTags.size(); ++tag)
    for (size_t at = text.find(kTags[tag]); at != text.npos; at = text.find(kTags[tag], at + 1)) {
      if (count[tag]++ == 0) first[tag] = at;
    }
  if (const size_t think_end = text.rfind(kTags[kThinkClose]); think_end != text.npos) {
    const size_t close = text.rfind(kTags[kAnswerClose]);
    const size_t open = close == text.npos ? text.npos : text.substr(0, close).rfind(kTags[kAnswerOpen]);
    if (open != text.npos && open > think_end) {
      const size_t begin = open + kTags[kAnswerOpen].size();
      out.found = true;
      out.answer = trimmed(text.substr(begin, close - begin));
    }
  }
  const auto reason = [&]() -> const char* {
    constexpr std::array<const char*, 4> missing = {"missing_think_open", "missing_think_close", "missing_answer_open",
                                                    "missing_answer_close"};
    for (size_t tag = 0; tag < kTags.size(); ++tag)
      if (count[tag] == 0) return missing[tag];
    if (count[kThinkOpen] > 1 || count[kThinkClose] > 1) return "repeated_think";
    if (count[kAnswerOpen] > 1 || count[kAnswerClose] > 1) return "repeated_answer";
    if (first[kThinkOpen] > first[kThinkClose] || first[kAnswerOpen] > first[kAnswerClose] ||
        first[kAnswerClose] < first[kThinkOpen])
      return "wrong_order";
    if (first[kAnswerOpen] < first[kThinkClose]) return "nested";
    const auto between = [&](size_t begin, size_t end) { return trimmed(text.substr(begin, end - begin)); };
    const size_t think = first[kThinkOpen] + kTags[kThinkOpen].size();
    const size_t behind_think = first[kThinkClose] + kTags[kThinkClose].size();
    out.thought = between(think, first[kThinkClose]);
    if (!between(0, first[kThinkOpen]).empty()) return "text_before";
    if (!between(behind_think, first[kAnswerOpen]).empty()) return "text_between";
    if (!between(first[kAnswerClose] + kTags[kAnswerClose].size(), text.size()).empty()) return "text_after";
    if (out.thought.empty()) return "empty_think";
    if (out.answer.empty()) return "empty_answer";
    return "ok";
  };
  out.reason = reason();
  out.format_ok = out.reason == "ok";
  return out;
}

}  // namespace fathom
