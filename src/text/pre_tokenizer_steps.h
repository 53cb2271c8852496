// tokenizer.json's `pre_tokenizer` as it stands there: steps that cut a text into words and rewrite them. PreTokenizer is the
// short way for those files that only cut and then take bytes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace fathom {

// What becomes of the matches of a Split: pieces of their own, nothing, a piece with the matches beside them, a part of the
// piece before or behind.
enum class SplitBehaviour { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct PreTokenizerStep {
  enum Kind { kSplit, kReplaceBlanks, kPrefix, kBytes } kind;
  std::string pattern = {};  // kSplit
  bool regex = true;         // kSplit: pattern is a regular expression
  SplitBehaviour behaviour = SplitBehaviour::kIsolated;
  bool invert = false;      // kSplit: matches are gaps, gaps are matches
  std::string text = {};    // kReplaceBlanks: by what; kPrefix: in front of every word that does not begin with it
  bool first_only = false;  // kPrefix: only of the word with which the whole text begins
  // kBytes: bytes become GPT-2's characters (byte_map.h)
};

class PreTokenizerSteps {
 public:
  PreTokenizerSteps() = default;
  explicit PreTokenizerSteps(const std::vector<PreTokenizerStep>& steps);  // Error (usage): a pattern does not compile

  struct Words {
    std::string text;
    std::vector<size_t> ends;  // of the words, which lie behind each other in text; none is empty
  };
  // text must be well-formed. at_start: the whole text begins here. continues: it goes on from a text before it, so that
  // the first word gets no prefix. steps grows by the work done.
  void split(std::string_view text, bool at_start, bool continues, Words& words, int64_t& steps) const;

 private:
  struct Step {
    PreTokenizerStep what;
    std::vector<Regex> pattern;  // one for kSplit
  };
  std::vector<Step> steps_;
};

}  // namespace fathom
