// Filters for numbers and single values; the table of all filters.
#include <cmath>
#include <cstdlib>

#include "text/jinja_arguments.h"
#include "text/jinja_characters.h"
#include "text/jinja_filters.h"

namespace fathom::jinja {
namespace {

Value default_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"});
  if (!input.is_undefined() && !(bound.truth(1, false) && !input.truth())) return input;
  return bound[0] ? *bound[0] : Value(std::string());
}

Value abs_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("abs", arguments, {});
  if (input.is_undefined()) refuse(input.why_undefined());
  if (input.real()) return Value(std::fabs(*input.real()));
  const auto i = input.as_integer();
  if (!i) refuse(std::string("bad operand type for abs(): '") + input.type_name() + "'");
  return Value(*i < 0 ? -*i : *i);
}

std::string stripped(const Text& text) {
  const size_t begin = strip_left(text, nullptr);
  return text.bytes().substr(begin, strip_right(text, nullptr, begin) - begin);
}

std::optional<double> parse_real(const std::string& s) {
  if (s.empty() || s.find_first_of("xXpP") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double d = std::strtod(s.c_str(), &end);
  return *end == '\0' && end == s.c_str() + s.size() ? std::optional(d) : std::nullopt;
}
std::optional<Int> parse_integer(std::string s, int base) {
  bool negative = false;
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) negative = s[0] == '-', s.erase(0, 1);
  const char prefix = s.size() > 1 && s[0] == '0' ? static_cast<char>(s[1] | 0x20) : ' ';
  if ((base == 16 && prefix == 'x') || (base == 8 && prefix == 'o') || (base == 2 && prefix == 'b')) s.erase(0, 2);
  if (s.empty()) return std::nullopt;
  Int out = 0;
  for (const char c : s) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10 : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(out, Int{base}, &out) || __builtin_add_overflow(out, Int{digit}, &out))
      refuse("a number is too large");
  }
  return negative ? -out : out;
}

Value int_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  const Value fallback = bound[0] ? *bound[0] : Value(0);
  if (input.is_undefined()) refuse(input.why_undefined());
  const auto truncated = [&](double d) {
    if (!std::isfinite(d)) return fallback;
    if (std::fabs(d) > 1e37) refuse("a number is too large");
    return Value(static_cast<Int>(d));
  };
  if (const auto i = input.as_integer()) return Value(*i);
  if (input.real()) return truncated(*input.real());
  if (!input.text()) return fallback;
  const std::string s = stripped(*input.text());
  const int64_t base = bound.integer(1, 10);
  if (base < 2 || base > 36) refuse("int: the base must be from 2 to 36");
  if (const auto i = parse_integer(s, static_cast<int>(base))) return Value(*i);
  if (const auto d = parse_real(s)) return truncated(*d);
  return fallback;
}

Value float_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  if (input.is_undefined()) refuse(input.why_undefined());
  if (input.is_number()) return Value(input.as_real());
  if (input.text())
    if (const auto d = parse_real(stripped(*input.text()))) return Value(*d);
  return bound[0] ? *bound[0] : Value(0.0);
}

Value round_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  if (input.is_undefined()) refuse(input.why_undefined());
  if (!input.is_number()) refuse(std::string("type ") + input.type_name() + " doesn't define __round__ method");
  const int64_t precision = bound.integer(0, 0);
  const std::string method = bound.text_or(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") refuse("method must be common, ceil or floor");
  if (precision < -30 || precision > 30) refuse("round: the precision is out of range");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(input.as_real() * scale) / scale);
  if (method == "floor") return Value(std::floor(input.as_real() * scale) / scale);
  if (!input.real() && precision >= 0) return Value(*input.as_integer());
  if (precision <= 0) {
    const double r = std::nearbyint(input.as_real() * scale) / scale;
    return input.real() ? Value(r) : Value(static_cast<Int>(r));
  }
  char buffer[512];  // correctly rounded from the decimal value, as Python does
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), input.as_real());
  return Value(std::strtod(buffer, nullptr));
}

Value attr_filter(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("attr", arguments, {"name"});
  const std::string& name = bound.text(0).bytes();
  if (input.dict() && !has_method(input, name))  // attributes only, never items
    return Value::undefined("'dict object' has no attribute '" + name + "'");
  return e.attribute(input, name);
}

}  // namespace

const FilterTable& number_filters() {
  static const FilterTable table = {{"default", default_filter}, {"d", default_filter},   {"abs", abs_filter},
                                    {"int", int_filter},         {"float", float_filter}, {"round", round_filter},
                                    {"attr", attr_filter}};
  return table;
}

Filter find_filter(const std::string& name) {
  for (const FilterTable* table : {&text_filters(), &sequence_filters(), &number_filters()})
    if (const auto found = table->find(name); found != table->end()) return found->second;
  return nullptr;
}
bool is_filter(const std::string& name) { return find_filter(name) != nullptr; }
bool is_test(const std::string& name) { return tests().count(name) > 0; }

}  // namespace fathom::jinja
