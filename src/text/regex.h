// A pattern that tokenizer.json names: a regular expression (PCRE2, with limits), or a text that is looked for as it is.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace fathom {

class Regex {
 public:
  explicit Regex(const std::string& pattern);  // Error (usage) where it does not compile
  static Regex literal(const std::string& text);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // What one search works in.
  class Match {
   public:
    explicit Match(const Regex& regex);
    ~Match();
    Match(const Match&) = delete;
    Match& operator=(const Match&) = delete;

   private:
    friend class Regex;
    void* data_;
  };

  // Calls body(begin, end) for every match from left to right; what lies outside of the text is not seen, not by look-around
  // either. An empty match right behind another match is none. The text must be well-formed UTF-8. Error (usage) where a
  // match needs too much backtracking.
  template <class Body>
  void find_all(std::string_view text, Match& match, Body&& body) const {
    size_t from = 0, last = kNone, begin = 0, end = 0;
    while (from <= text.size() && find(text, from, match, begin, end)) {
      if (begin == end && end == last) {
        from = behind_character(text, end);
        continue;
      }
      body(begin, end);
      from = last = end;
    }
  }
  // The text with `content` in the place of every match.
  std::string replaced(std::string_view text, std::string_view content, Match& match) const;

 private:
  Regex();
  static constexpr size_t kNone = static_cast<size_t>(-1);
  bool find(std::string_view text, size_t from, Match& match, size_t& begin, size_t& end) const;
  static size_t behind_character(std::string_view text, size_t at);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
