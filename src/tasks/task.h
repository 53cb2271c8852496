// Tasks with exact verifiers: problems are a pure function of (name, seed, index), answers are checked exactly.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fathom {

struct Problem {
  std::string prompt;      // what the user asks
  std::string trace;       // a worked solution's thinking (for supervised stages); may be empty
  std::string answer;      // a correct answer
  std::string truth;       // what the verifier needs, as text (e.g. "24 3 8 1": target and numbers)
};
struct Verdict {
  bool correct = false;
  std::string reason;      // named reason of refusal: "wrong_value", "number_used_twice", "no_answer", "not_an_expression", …
};
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;
  // split: "train" and "test" never share a problem (the split is decided by a hash of the problem itself).
  virtual Problem make(uint64_t seed, const std::string& split, uint64_t index) const = 0;
  virtual Verdict verify(const Problem& problem, const std::string& answer) const = 0;
};
// "arithmetic", "countdown"; options like {"digits": "2"} are checked. Error (usage) for an unknown name or option.
std::unique_ptr<Task> make_task(const std::string& name, const std::vector<std::pair<std::string, std::string>>& options);
std::vector<std::string> task_names();

// The answer of a model's output: text inside the last <answer>…</answer> after the last </think>; else reasons:
// "no_think_end", "no_answer". format_ok: exactly one <think>…</think> then one <answer>…</answer>, nothing after.
struct ExtractedAnswer {
  bool found = false;
  std::string answer, reason;
  bool format_ok = false;
};
ExtractedAnswer extract_answer(const std::string& output, bool starts_inside_think);

}  // namespace fathom
