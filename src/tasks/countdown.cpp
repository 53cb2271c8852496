#include "tasks/countdown.h"

#include <algorithm>
#include <set>

#include "tasks/expression.h"
#include "tasks/split.h"

namespace fathom {
namespace {

struct Term {
  int64_t value;
  std::string text;  // as an expression
  bool single;       // a given number: needs no parentheses
};

// One operation on a pair, the larger side first; every result is a natural number above 0, and nothing is divided by 1.
// op: one of + - * /. False where it is not allowed.
bool combine(const Term& a, const Term& b, char op, Term& out) {
  const Term& high = a.value >= b.value ? a : b;
  const Term& low = a.value >= b.value ? b : a;
  switch (op) {
    case '+':
      out.value = high.value + low.value;
      break;
    case '-':
      out.value = high.value - low.value;
      break;
    case '*':
      out.value = high.value * low.value;
      break;
    default:
      if (low.value < 2 || high.value % low.value != 0) return false;
      out.value = high.value / low.value;
  }
  const auto wrapped = [](const Term& t) { return t.single ? t.text : "(" + t.text + ")"; };
  out.text = wrapped(high) + op + wrapped(low);
  out.single = false;
  return out.value > 0;
}

std::string equation(const Term& a, const Term& b, char op, int64_t result) {
  return std::to_string(std::max(a.value, b.value)) + op + std::to_string(std::min(a.value, b.value)) + "=" +
         std::to_string(result);
}

constexpr char kOps[] = {'+', '-', '*', '/'};
constexpr int64_t kMaxValue = 99'999;  // on the way

// A line of search: operations at random until two numbers are left, then every operation on these, in order, up to a hit.
struct Line {
  std::string text;
  bool hit = false;
  std::string solution;
};

class Countdown : public Task {
 public:
  explicit Countdown(TaskOptions options)
      : count_(options.range("count", {3, 3}, 2, 6)),
        max_(options.integer("max", 20, 2, 999)),
        target_max_(options.integer("target_max", 100, 1, 9999)),
        tries_(options.integer("tries", 6, 1, 64)) {
    options.finish();
  }
  std::string name() const override { return "countdown"; }

  Problem make(uint64_t seed, const std::string& split, uint64_t index) const override {
    return draw_in_split(name(), seed, split, index, [&](Rng& rng, Problem& problem) { return draw(rng, problem); });
  }

  Verdict verify(const Problem& problem, const std::string& answer) const override {
    std::vector<std::string> words;
    for (size_t at = 0; at < problem.truth.size();) {
      const size_t end = std::min(problem.truth.find(' ', at), problem.truth.size());
      if (end > at) words.push_back(problem.truth.substr(at, end - at));
      at = end + 1;
    }
    const std::string target = words.empty() ? "" : words[0];
    if (!words.empty()) words.erase(words.begin());
    return judge_expression(answer, words, target);
  }

 private:
  // Operations at random until `left` terms remain; false where a step found no allowed operation.
  bool random_steps(std::vector<Term>& terms, size_t left, Rng& rng, std::string& text) const {
    while (terms.size() > left) {
      const size_t i = rng.next_below(terms.size());
      size_t j = rng.next_below(terms.size() - 1);
      j += j >= i;
      const char op = kOps[rng.next_below(4)];
      Term result;
      if (!combine(terms[i], terms[j], op, result) || result.value > kMaxValue) return false;
      text += (text.empty() ? "" : " ") + equation(terms[i], terms[j], op, result.value);
      terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(std::max(i, j)));
      terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(std::min(i, j)));
      terms.push_back(std::move(result));
      std::stable_sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) { return a.value > b.value; });
      if (left < 2) continue;
      text += " [";
      for (size_t k = 0; k < terms.size(); ++k) text += (k ? " " : "") + std::to_string(terms[k].value);
      text += "]";
    }
    return true;
  }
  bool draw_line(const std::vector<Term>& numbers, int64_t target, Rng& rng, Line& line) const {
    std::vector<Term> terms = numbers;
    line = {};
    if (!random_steps(terms, 2, rng, line.text)) return false;
    for (const char op : kOps) {
      Term result;
      if (!combine(terms[0], terms[1], op, result)) continue;
      line.text += (line.text.empty() ? "" : " ") + equation(terms[0], terms[1], op, result.value);
      if (result.value != target) continue;
      line.hit = true;
      line.text += " yes";
      line.solution = result.text;
      return true;
    }
    return true;
  }

  std::string draw(Rng& rng, Problem& problem) const {
    const auto n = static_cast<size_t>(count_.low) + rng.next_below(static_cast<uint64_t>(count_.high - count_.low + 1));
    std::vector<Term> numbers(n);
    for (Term& t : numbers) {
      t.value = 1 + static_cast<int64_t>(rng.next_below(static_cast<uint64_t>(max_)));
      t.text = std::to_string(t.value);
      t.single = true;
    }
    std::vector<Term> all = numbers;
    std::string steps;
    if (!random_steps(all, 1, rng, steps) || all[0].value > target_max_) return "";
    const int64_t target = all[0].value;
    // A target that is one of the numbers is mostly a trick with 1 or x-x+y: leave it out.
    if (std::any_of(numbers.begin(), numbers.end(), [&](const Term& t) { return t.value == target; })) return "";

    problem.truth = std::to_string(target);
    std::string shown;
    for (const Term& t : numbers) shown += (shown.empty() ? "" : " ") + t.text;
    problem.truth += " " + shown;
    problem.prompt = "Make " + std::to_string(target) + " from " + shown;

    // The search: lines at random, none twice, until one hits; the last line allowed is drawn until it hits.
    std::set<std::string> seen;
    int64_t lines = 0;
    for (int draws = 0; draws < 20'000; ++draws) {
      Line line;
      if (!draw_line(numbers, target, rng, line) || (!line.hit && lines + 1 >= tries_) || !seen.insert(line.text).second)
        continue;
      problem.trace += (lines++ ? "\n" : "") + line.text;
      if (!line.hit) continue;
      problem.answer = line.solution;
      std::vector<int64_t> sorted;
      for (const Term& t : numbers) sorted.push_back(t.value);
      std::sort(sorted.begin(), sorted.end());
      std::string key = std::to_string(target);  // the order in which the numbers are given makes no other problem
      for (const int64_t x : sorted) key += " " + std::to_string(x);
      return key;
    }
    return "";
  }

  Range count_;
  int64_t max_, target_max_, tries_;
};

}  // namespace

std::unique_ptr<Task> make_countdown(TaskOptions options) { return std::make_unique<Countdown>(std::move(options)); }

}  // namespace fathom
