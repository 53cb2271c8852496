#include "tasks/expression.h"

#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace fathom {
namespace {

using Int = __int128;

// num / den in lowest terms, den > 0. Nothing where 128 bits do not suffice.
struct Rational {
  Int num = 0, den = 1;
};
Int gcd(Int a, Int b) {
  if (a < 0) a = -a;
  if (b < 0) b = -b;
  while (b != 0) a = std::exchange(b, a % b);
  return a;
}
constexpr Int kLimit = (Int{1} << 126);  // magnitudes stay below, so that no negation overflows
std::optional<Int> product(Int a, Int b) {
  Int out;
  if (__builtin_mul_overflow(a, b, &out) || out >= kLimit || out <= -kLimit) return std::nullopt;
  return out;
}
std::optional<Rational> multiply(Rational a, Rational b) {
  // Cancel across first: the product is then in lowest terms and as small as it can be.
  const Int left = gcd(a.num, b.den), right = gcd(b.num, a.den);
  if (left > 1) a.num /= left, b.den /= left;
  if (right > 1) b.num /= right, a.den /= right;
  const auto num = product(a.num, b.num), den = product(a.den, b.den);
  if (!num || !den) return std::nullopt;
  return Rational{*num, *num == 0 ? 1 : *den};
}
std::optional<Rational> add(const Rational& a, const Rational& b) {
  const Int common = gcd(a.den, b.den);
  const auto left = product(a.num, b.den / common), right = product(b.num, a.den / common);
  const auto den = product(a.den, b.den / common);
  if (!left || !right || !den) return std::nullopt;
  const Int num = *left + *right;
  if (num >= kLimit || num <= -kLimit) return std::nullopt;
  const Int shared = num == 0 ? *den : gcd(num, *den);
  return Rational{num / shared, *den / shared};
}

std::optional<Int> integer(std::string_view digits) {  // with an optional minus
  const bool negative = !digits.empty() && digits[0] == '-';
  Int value = 0;
  for (const char c : digits.substr(negative)) {
    const auto tenfold = product(value, 10);
    if (!tenfold || *tenfold + 9 >= kLimit) return std::nullopt;
    value = *tenfold + (c - '0');
  }
  return negative ? -value : value;
}

struct Token {
  char kind;  // 'n' or the character itself
  std::string_view text;
};

// Blanks and tabs stand between tokens. The reason of the refusal, or "".
std::string tokenize(std::string_view expression, std::vector<Token>& tokens) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (size_t at = 0; at < expression.size();) {
    const char c = expression[at];
    if (c == ' ' || c == '\t') {
      ++at;
      continue;
    }
    size_t end = at + 1;
    if (is_digit(c)) {
      while (end < expression.size() && is_digit(expression[end])) ++end;
      if (c == '0' && end > at + 1) return "syntax_error";
      tokens.push_back({'n', expression.substr(at, end - at)});
    } else {
      const char next = end < expression.size() ? expression[end] : '\0';
      if (c == '*' && next == '*') return "exponent";
      if (c == '/' && next == '/') return "floor_division";
      tokens.push_back({c, expression.substr(at, 1)});
    }
    at = end;
  }
  return "";
}

// Shunting-yard into postfix order, with the depth of parentheses bounded: no recursion.
std::string parse(const std::vector<Token>& tokens, std::vector<Token>& postfix) {
  constexpr int kMaxDepth = 64;
  std::vector<Token> stack;
  const auto strength = [](char kind) { return kind == '+' || kind == '-' ? 1 : kind == '*' || kind == '/' ? 2 : 0; };
  int depth = 0;
  bool operand_next = true;
  for (const Token& token : tokens) {
    switch (token.kind) {
      case 'n':
        if (!operand_next) return "syntax_error";
        postfix.push_back(token);
        operand_next = false;
        break;
      case '(':
        if (!operand_next) return "syntax_error";
        if (++depth > kMaxDepth) return "too_deep";
        stack.push_back(token);
        break;
      case ')':
        if (operand_next || depth == 0) return "syntax_error";
        for (; stack.back().kind != '('; stack.pop_back()) postfix.push_back(stack.back());
        stack.pop_back();
        --depth;
        break;
      default:
        if (operand_next) return token.kind == '+' || token.kind == '-' ? "unary_sign" : "syntax_error";
        for (; !stack.empty() && strength(stack.back().kind) >= strength(token.kind); stack.pop_back())
          postfix.push_back(stack.back());
        stack.push_back(token);
        operand_next = true;
    }
  }
  if (operand_next || depth > 0) return "syntax_error";
  for (; !stack.empty(); stack.pop_back()) postfix.push_back(stack.back());
  return "";
}

std::string evaluate(const std::vector<Token>& postfix, Rational& value) {
  std::vector<Rational> stack;
  for (const Token& token : postfix) {
    if (token.kind == 'n') {
      const auto number = integer(token.text);
      if (!number) return "too_large";
      stack.push_back({*number, 1});
      continue;
    }
    Rational right = stack.back();
    stack.pop_back();
    std::optional<Rational> result;
    switch (token.kind) {
      case '-':
        right.num = -right.num;
        [[fallthrough]];
      case '+':
        result = add(stack.back(), right);
        break;
      case '/':
        if (right.num == 0) return "division_by_zero";
        std::swap(right.num, right.den);
        if (right.den < 0) right = {-right.num, -right.den};
        [[fallthrough]];
      default:
        result = multiply(stack.back(), right);
    }
    if (!result) return "too_large";
    stack.back() = *result;
  }
  value = stack.back();
  return "";
}

std::string reason_of(std::string_view expression, const std::vector<std::string>& numbers, std::string_view target) {
  constexpr size_t kMaxCharacters = 1024;
  if (expression.find_first_not_of(" \t\r\n") == expression.npos) return "empty";
  if (expression.size() > 4 * kMaxCharacters) return "too_long";
  size_t characters = 0;
  std::string bad;
  for (size_t at = 0; at < expression.size(); ++characters) {
    const Utf8Sequence next = utf8_sequence(expression.substr(at));
    if (bad.empty()) {
      const char* p = expression.data() + at;
      const char32_t c = next.valid ? next_code_point(p) : 0;
      if (c >= 0x80 && (char_class(c) & kNumber))
        bad = "unicode_digit";
      else if (c == 0 || c >= 0x80 ||
               std::string_view("0123456789+-*/() \t").find(static_cast<char>(c)) == std::string_view::npos)
        bad = "illegal_character";
    }
    at += next.length;
  }
  if (characters > kMaxCharacters) return "too_long";
  if (!bad.empty()) return bad;
  std::vector<Token> tokens, postfix;
  if (const std::string reason = tokenize(expression, tokens); !reason.empty()) return reason;
  if (const std::string reason = parse(tokens, postfix); !reason.empty()) return reason;

  std::map<std::string_view, int> left;
  for (const std::string& number : numbers) ++left[number];
  for (const Token& token : tokens)
    if (token.kind == 'n' && !left.contains(token.text)) return "number_not_given";
  for (const Token& token : tokens)
    if (token.kind == 'n' && --left[token.text] < 0) return "number_used_twice";
  for (const auto& [number, count] : left)
    if (count > 0) return "unused_number";

  Rational value;
  if (const std::string reason = evaluate(postfix, value); !reason.empty()) return reason;
  const auto wanted = integer(target);
  return wanted && value.den == 1 && value.num == *wanted ? "ok" : "wrong_value";
}

}  // namespace

Verdict judge_expression(std::string_view expression, const std::vector<std::string>& numbers, std::string_view target) {
  const auto decimal = [](std::string_view text, bool sign) {
    if (sign && !text.empty() && text[0] == '-') text.remove_prefix(1);
    return !text.empty() && text.size() <= 38 && text.find_first_not_of("0123456789") == text.npos;
  };
  if (!decimal(target, true)) fail_usage("countdown", "the target '" + printable(target) + "' is no integer");
  for (const std::string& number : numbers)
    if (!decimal(number, false)) fail_usage("countdown", "the number '" + printable(number) + "' is no natural number");
  const std::string reason = reason_of(expression, numbers, target);
  return {reason == "ok", reason};
}

}  // namespace fathom
