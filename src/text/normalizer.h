// What a tokenizer does to a text before it looks for words in it: tokenizer.json's `normalizer`.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace fathom {

struct NormalizerStep {
  enum Kind { kForm, kLowercase, kStrip, kStripAccents, kPrepend, kReplace } kind;
  NormalForm form = NormalForm::kNfc;  // kForm
  bool left = false, right = false;    // kStrip: white space at the text's begin, end
  std::string pattern;                 // kReplace: what is replaced
  bool regex = false;                  // kReplace: pattern is a regular expression
  std::string content;                 // kReplace: by what; kPrepend: what stands in front of every text that is not empty
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(const std::vector<NormalizerStep>& steps);  // Error (usage) for a pattern that does not compile
  bool empty() const { return steps_.empty(); }

  struct Result {
    std::string text;
    bool cut_left = false;  // something was taken from the begin
  };
  // text must be well-formed. continues: it goes on from a text before it, so that nothing is put in front nor taken there.
  // steps grows by the work done. Error (usage) where a pattern needs too much backtracking.
  Result apply(std::string_view text, bool continues, int64_t& steps) const;

 private:
  struct Step {
    NormalizerStep what;
    std::vector<Regex> pattern;  // one for kReplace
  };
  std::vector<Step> steps_;
};

}  // namespace fathom
