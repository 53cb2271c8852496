#include "text/pre_tokenizer_steps.h"

#include "text/byte_map.h"

namespace fathom {
namespace {

struct Piece {
  size_t begin, end;
  bool match;  // while pieces are put together; then: whether it is dropped
};

// Matches and gaps of one word, in order, with the behaviour's cuts; an empty piece is kept until the caller drops it, for
// it may stand between two others.
void cut(const Regex& regex, const PreTokenizerStep& step, std::string_view word, Regex::Match& match,
         std::vector<Piece>& pieces) {
  pieces.clear();
  size_t done = 0;
  regex.find_all(word, match, [&](size_t begin, size_t end) {
    if (begin != done) pieces.push_back({done, begin, step.invert});
    pieces.push_back({begin, end, !step.invert});
    done = end;
  });
  if (done != word.size()) pieces.push_back({done, word.size(), step.invert});
  if (step.behaviour == SplitBehaviour::kRemoved) return;
  size_t kept = 0;
  bool previous = false;  // whether the piece before is a match
  if (step.behaviour == SplitBehaviour::kMergedWithNext) {
    // From the right: a match joins the piece behind it, once.
    std::vector<Piece> reversed;
    for (size_t i = pieces.size(); i-- > 0;) {
      const Piece piece = pieces[i];
      if (piece.match && !previous && !reversed.empty())
        reversed.back().begin = piece.begin;
      else
        reversed.push_back({piece.begin, piece.end, false});
      previous = piece.match;
    }
    pieces.assign(reversed.rbegin(), reversed.rend());
    return;
  }
  for (const Piece piece : pieces) {
    const bool joins = kept > 0 && (step.behaviour == SplitBehaviour::kContiguous           ? piece.match == previous
                                    : step.behaviour == SplitBehaviour::kMergedWithPrevious ? piece.match && !previous
                                                                                            : false);
    previous = piece.match;
    if (joins)
      pieces[kept - 1].end = piece.end;
    else
      pieces[kept++] = {piece.begin, piece.end, false};
  }
  pieces.resize(kept);
}

}  // namespace

PreTokenizerSteps::PreTokenizerSteps(const std::vector<PreTokenizerStep>& steps) {
  for (const PreTokenizerStep& step : steps) {
    steps_.push_back({step, {}});
    if (step.kind == PreTokenizerStep::kSplit)
      steps_.back().pattern.push_back(step.regex ? Regex(step.pattern) : Regex::literal(step.pattern));
  }
}

void PreTokenizerSteps::split(std::string_view text, bool at_start, bool continues, Words& words, int64_t& steps) const {
  words.text = text;
  words.ends.clear();
  if (text.empty()) return;
  words.ends.push_back(text.size());
  Words next;
  std::vector<Piece> pieces;
  for (const Step& step : steps_) {
    steps += static_cast<int64_t>(words.text.size());
    next.text.clear();
    next.ends.clear();
    const auto add = [&](std::string_view word) {
      if (word.empty()) return;
      next.text += word;
      next.ends.push_back(next.text.size());
    };
    size_t begin = 0;
    bool first = true;
    for (const size_t end : words.ends) {
      const std::string_view word = std::string_view(words.text).substr(begin, end - begin);
      begin = end;
      switch (step.what.kind) {
        case PreTokenizerStep::kSplit: {
          Regex::Match match(step.pattern.front());
          cut(step.pattern.front(), step.what, word, match, pieces);
          for (const Piece& piece : pieces) {
            if (!piece.match)
              add(word.substr(piece.begin, piece.end - piece.begin));
            else if (next.ends.empty() && piece.begin < piece.end)
              at_start = continues = false;  // what the text began with is gone
          }
          break;
        }
        case PreTokenizerStep::kReplaceBlanks: {
          const size_t from = next.text.size();
          for (const char c : word)
            if (c == ' ')
              next.text += step.what.text;
            else
              next.text += c;
          if (next.text.size() > from) next.ends.push_back(next.text.size());
          break;
        }
        case PreTokenizerStep::kPrefix: {
          const bool wanted = first && step.what.first_only ? at_start : !step.what.first_only;
          if (wanted && !(first && continues) && !word.starts_with(step.what.text)) next.text += step.what.text;
          add(word);
          break;
        }
        case PreTokenizerStep::kBytes:
          add(bytes_to_characters(word));
          break;
      }
      first = false;
    }
    std::swap(words.text, next.text);
    std::swap(words.ends, next.ends);
  }
}

}  // namespace fathom
