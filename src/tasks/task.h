// Tasks with exact verifiers: problems are a pure function of (name, seed, index), answers are checked exactly.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fathom {

struct Problem {
  std::string prompt;  // what the user asks
  std::string trace;   // a worked solution's thinking (for supervised stages); may be empty
  std::string answer;  // a correct answer
  std::string truth;   // what the verifier needs, as text (e.g. "24 3 8 1": target and numbers)
};
struct Verdict {
  bool correct = false;
  std::string reason;  // named reason of refusal: "wrong_value", "number_used_twice", "no_answer", "not_an_expression", …
};
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;
  // split: "train" and "test" never share a problem (the split is decided by a hash of the problem itself).
  virtual Problem make(uint64_t seed, const std::string& split, uint64_t index) const = 0;
  virtual Verdict verify(const Problem& problem, const std::string& answer) const = 0;
};
// "arithmetic", "countdown"; options like {"digits", "2"} are checked. Error (usage) for an unknown name or option.
std::unique_ptr<Task> make_task(const std::string& name, const std::vector<std::pair<std::string, std::string>>& options);
std::vector<std::string> task_names();

// A model's output, read by tags. The answer is the text, trimmed, of the last <answer>…</answer> behind the last </think>;
// found says whether there is one, whatever else is wrong. format_ok: exactly one <think>…</think>, then exactly one
// <answer>…</answer>, only white space around and between, neither empty. reason: "ok", or the first rule that is broken:
// missing_think_open, missing_think_close, missing_answer_open, missing_answer_close, repeated_think, repeated_answer,
// nested, wrong_order, text_before, text_between, text_after, empty_think, empty_answer.
// starts_inside_think: the prompt ended with <think>, which is put back in front.
struct ExtractedAnswer {
  bool found = false;
  std::string answer, reason, thought;
  bool format_ok = false;
};
ExtractedAnswer extract_answer(const std::string& output, bool starts_inside_think);
std::string answer_text(const std::string& answer);  // "<answer>…</answer>", what extract_answer reads

}  // namespace fathom
