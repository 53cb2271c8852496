#include "tasks/arithmetic.h"

#include <algorithm>
#include <optional>

#include "tasks/split.h"

namespace fathom {
namespace {

std::string str(int64_t value) { return std::to_string(value); }

// Column addition from the units up: "34+57: 4+7=11 3+5+1=9 -> 91"; missing digits are 0, a carry is written as +1.
std::string worked_sum(int64_t a, int64_t b) {
  std::string out = str(a) + "+" + str(b) + ":";
  int64_t carry = 0;
  for (int64_t x = a, y = b; x > 0 || y > 0; x /= 10, y /= 10) {
    const int64_t column = x % 10 + y % 10 + carry;
    out += " " + str(x % 10) + "+" + str(y % 10) + (carry ? "+1" : "") + "=" + str(column);
    carry = column / 10;
  }
  return out + " -> " + str(a + b);
}

// Column subtraction of b <= a: "52-37: 12-7=5 5-1-3=1 -> 15"; a borrow adds 10 here and is written as -1 in the next.
std::string worked_difference(int64_t a, int64_t b) {
  std::string out = str(a) + "-" + str(b) + ":";
  int64_t borrow = 0;
  for (int64_t x = a, y = b; x > 0 || y > 0; x /= 10, y /= 10) {
    const int64_t have = x % 10, take = y % 10 + borrow;
    const bool lends = have < take;
    out += " " + str(have + (lends ? 10 : 0)) + (borrow ? "-1" : "") + "-" + str(y % 10) + "=" +
           str(have + (lends ? 10 : 0) - take);
    borrow = lends;
  }
  return out + " -> " + str(a - b);
}

// A number times one digit: "34*7: 4*7=28 3*7+2=23 -> 238".
std::string worked_digit_product(int64_t a, int64_t digit) {
  std::string out = str(a) + "*" + str(digit) + ":";
  int64_t carry = 0;
  for (int64_t x = a; x > 0; x /= 10) {
    const int64_t column = x % 10 * digit + carry;
    out += " " + str(x % 10) + "*" + str(digit) + (carry ? "+" + str(carry) : "") + "=" + str(column);
    carry = column / 10;
  }
  return out + " -> " + str(a * digit);
}

// Digit by digit of b, with the partial products added up, one line each.
std::string worked_product(int64_t a, int64_t b) {
  if (a < b) std::swap(a, b);
  if (b < 10) return worked_digit_product(a, b);
  std::string out;
  int64_t sum = 0, power = 1;
  for (int64_t y = b; y > 0; y /= 10, power *= 10) {
    if (y % 10 == 0) continue;
    if (!out.empty()) out += "\n";
    out += worked_digit_product(a, y % 10);
    const int64_t part = a * (y % 10) * power;
    if (sum > 0) out += "\n" + worked_sum(part, sum);
    sum += part;
  }
  return out;
}

// A binary tree in an array: leaves hold numbers.
struct Node {
  char op = 0;  // 0: a number
  int64_t value = 0;
  int left = -1, right = -1;
};

int strength(char op) { return op == 0 ? 3 : op == '*' ? 2 : 1; }

class Expression {
 public:
  std::vector<Node> nodes;

  std::string text(int at) const {
    const Node& node = nodes[at];
    if (node.op == 0) return str(node.value);
    const auto side = [&](int child, bool right) {
      const int inner = strength(nodes[child].op);
      const bool wrap = inner < strength(node.op) || (right && inner == strength(node.op) && node.op == '-');
      return wrap ? "(" + text(child) + ")" : text(child);
    };
    return side(node.left, false) + node.op + side(node.right, true);
  }
  // Works the leftmost operation whose two sides are numbers; the line of its working.
  std::optional<std::string> step(int at) {
    Node& node = nodes[at];
    if (node.op == 0) return std::nullopt;
    if (auto done = step(node.left)) return done;
    if (auto done = step(node.right)) return done;
    const int64_t a = nodes[node.left].value, b = nodes[node.right].value;
    const std::string line = node.op == '+'   ? worked_sum(a, b)
                             : node.op == '-' ? worked_difference(a, b)
                                              : worked_product(a, b);
    node = {0, node.op == '+' ? a + b : node.op == '-' ? a - b : a * b, -1, -1};
    return line;
  }
};

class Arithmetic : public Task {
 public:
  explicit Arithmetic(TaskOptions options)
      : digits_(options.integer("digits", 2, 1, 4)),
        terms_(options.range("terms", {2, 3}, 2, 5)),
        ops_(options.characters("ops", "+-*", "+-*")),
        parentheses_(options.boolean("parentheses", true)),
        limit_(options.integer("limit", 9999, 9, 999'999'999)) {
    options.finish();
  }
  std::string name() const override { return "arithmetic"; }

  Problem make(uint64_t seed, const std::string& split, uint64_t index) const override {
    return draw_in_split(name(), seed, split, index, [&](Rng& rng, Problem& problem) { return draw(rng, problem); });
  }

  Verdict verify(const Problem& problem, const std::string& answer) const override {
    const size_t begin = answer.find_first_not_of(" \t\r\n");
    if (begin == std::string::npos) return {false, "empty"};
    std::string text = answer.substr(begin, answer.find_last_not_of(" \t\r\n") - begin + 1);
    if (text.rfind("\u2212", 0) == 0) text = "-" + text.substr(3);
    const size_t first = text[0] == '-' ? 1 : 0;
    if (first == text.size() || text.find_first_not_of("0123456789", first) != std::string::npos)
      return {false, "not_a_number"};
    if (text.size() > first + 1 && text[first] == '0') return {false, "leading_zero"};
    return text == problem.truth ? Verdict{true, "ok"} : Verdict{false, "wrong_value"};
  }

 private:
  int64_t operand(Rng& rng) const {  // the number of digits is drawn first, so that short numbers are not rare
    int64_t low = 1;
    for (uint64_t n = rng.next_below(static_cast<uint64_t>(digits_)); n > 0; --n) low *= 10;
    return low + static_cast<int64_t>(rng.next_below(static_cast<uint64_t>(9 * low)));
  }
  // A tree over the operands [begin, end), of any shape, or of the shape that needs no parentheses.
  int build(Expression& e, const std::vector<int64_t>& operands, const std::vector<char>& ops, size_t begin, size_t end,
            Rng& rng) const {
    Node node;
    if (end - begin == 1) {
      node.value = operands[begin];
    } else {
      size_t root = begin + rng.next_below(end - begin - 1);  // between operands root and root + 1
      if (!parentheses_) {                                    // the last of the weakest operators
        root = begin;
        for (size_t i = begin; i + 1 < end; ++i)
          if (strength(ops[i]) <= strength(ops[root])) root = i;
      }
      node.op = ops[root];
      node.left = build(e, operands, ops, begin, root + 1, rng);
      node.right = build(e, operands, ops, root + 1, end, rng);
    }
    e.nodes.push_back(node);
    return static_cast<int>(e.nodes.size()) - 1;
  }
  // Whether every value on the way lies in [0, limit].
  bool within(const Expression& e, int at, int64_t& value) const {
    const Node& node = e.nodes[at];
    value = node.value;
    if (node.op != 0) {
      int64_t a = 0, b = 0;
      if (!within(e, node.left, a) || !within(e, node.right, b)) return false;
      value = node.op == '+' ? a + b : node.op == '-' ? a - b : a * b;
    }
    return value >= 0 && value <= limit_;
  }
  std::string draw(Rng& rng, Problem& problem) const {
    const auto terms = static_cast<size_t>(terms_.low) + rng.next_below(static_cast<uint64_t>(terms_.high - terms_.low + 1));
    std::vector<int64_t> operands(terms);
    std::vector<char> ops(terms - 1);
    for (int64_t& x : operands) x = operand(rng);
    for (char& op : ops) op = ops_[rng.next_below(ops_.size())];
    Expression e;
    const int root = build(e, operands, ops, 0, terms, rng);
    int64_t value = 0;
    if (!within(e, root, value)) return "";
    const std::string text = e.text(root);
    problem.prompt = "Compute " + text;
    problem.answer = problem.truth = str(value);
    problem.trace = text;
    while (const auto line = e.step(root)) problem.trace += "\n" + *line + "\n" + e.text(root);
    return text;
  }

  int64_t digits_;
  Range terms_;
  std::string ops_;
  bool parentheses_;
  int64_t limit_;
};

}  // namespace

std::unique_ptr<Task> make_arithmetic(TaskOptions options) { return std::make_unique<Arithmetic>(std::move(options)); }

}  // namespace fathom
