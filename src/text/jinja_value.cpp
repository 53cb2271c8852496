#include "text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "text/jinja_characters.h"

namespace fathom::jinja {
namespace {

constexpr int kMaxDepth = 80;  // of nested data

int64_t order_of_numbers(const Value& a, const Value& b) {  // -1, 0, 1; 2 where one is not a number in order (nan)
  if (!a.real() && !b.real()) {
    const Int x = *a.as_integer(), y = *b.as_integer();
    return x < y ? -1 : x > y;
  }
  const double x = a.as_real(), y = b.as_real();
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

bool equal_at(const Value& a, const Value& b, int depth) {
  if (depth > kMaxDepth) refuse("data nested too deeply to compare");
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b) == 0;
  if (a.text() && b.text()) return a.text()->bytes() == b.text()->bytes();
  if (a.list() && b.list()) {
    const List &x = **a.list(), &y = **b.list();
    if (a.same(b)) return true;
    if (x.kind != y.kind || x.kind == List::kGenerator || x.items.size() != y.items.size()) return false;
    for (size_t i = 0; i < x.items.size(); ++i)
      if (!equal_at(x.items[i], y.items[i], depth + 1)) return false;
    return true;
  }
  if (a.dict() && b.dict()) {
    const Dict &x = **a.dict(), &y = **b.dict();
    if (x.items.size() != y.items.size()) return false;
    for (const auto& [key, value] : x.items) {
      const Value* other = y.find(key);
      if (!other || !equal_at(value, *other, depth + 1)) return false;
    }
    return true;
  }
  if (a.is_undefined() || a.is_none()) return a.is_undefined() ? b.is_undefined() : b.is_none();
  return a.object() && a.same(b);
}

char quote_for(const std::string& bytes) {
  return bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos ? '"' : '\'';
}

void write_quoted(const Text& text, Text& out) {  // Python's repr of a str
  const char quote = quote_for(text.bytes());
  out.append(std::string_view(&quote, 1));
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {
    const char mark = text.marks()[begin];
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.append("\\", mark);
      out.append(text, begin, end);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out.append(c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t", mark);
    } else if (!is_printable(c)) {
      char buffer[16];
      std::snprintf(buffer, sizeof buffer,
                    c < 0x100     ? "\\x%02x"
                    : c < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                    static_cast<unsigned>(c));
      out.append(buffer, mark);
    } else {
      out.append(text, begin, end);
    }
  });
  out.append(std::string_view(&quote, 1));
}

}  // namespace

std::optional<Value> Object::attribute(const std::string&) const { return std::nullopt; }
Value Object::call(Evaluator&, const Arguments&) { refuse(std::string("'") + type_name() + "' object is not callable"); }

Value Value::undefined(std::string why) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(why))};
  return value;
}

std::string Value::why_undefined() const {
  const auto* u = std::get_if<Undefined>(&data_);
  return u && u->why ? *u->why : "a value is undefined";
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (boolean()) return *boolean();
  if (integer()) return *integer() != 0;
  if (real()) return *real() != 0;
  if (text()) return !text()->empty();
  if (list()) return (*list())->kind == List::kGenerator || !(*list())->items.empty();
  if (dict()) return !(*dict())->items.empty();
  return true;
}

const char* Value::type_name() const {
  static const char* const kLists[] = {"list", "tuple", "range", "generator", "dict_items", "dict_keys", "dict_values"};
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (boolean()) return "bool";
  if (integer()) return "int";
  if (real()) return "float";
  if (text()) return "str";
  if (list()) return kLists[(*list())->kind];
  if (dict()) return "dict";
  return (*object())->type_name();
}

std::string Value::described() const { return is_none() ? "None" : std::string(type_name()) + " object"; }

std::optional<Int> Value::as_integer() const {
  if (boolean()) return Int{*boolean()};
  if (integer()) return *integer();
  return std::nullopt;
}
double Value::as_real() const { return real() ? *real() : static_cast<double>(as_integer().value_or(0)); }

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (list()) return list()->get() == other.list()->get();
  if (dict()) return dict()->get() == other.dict()->get();
  if (object()) return object()->get() == other.object()->get();
  return equal(*this, other);
}

Value make_list(std::vector<Value> items, List::Kind kind) {
  auto list = std::make_shared<List>();
  list->kind = kind;
  list->items = std::move(items);
  return list;
}

std::string Dict::key_of(const Value& key) {
  if (key.text()) return "s" + key.text()->bytes();
  if (key.is_none()) return "n";
  if (key.is_number()) {  // 1, 1.0 and True are the same key
    const double d = key.as_real();
    if (key.real() && d == std::floor(d) && std::fabs(d) < 1e18) return "i" + to_string(static_cast<Int>(d));
    return key.real() ? "f" + to_string(d) : "i" + to_string(*key.as_integer());
  }
  if (key.list() && (*key.list())->kind == List::kTuple) {
    std::string out = "t";
    for (const Value& item : (*key.list())->items) {
      const std::string part = key_of(item);
      out += std::to_string(part.size()) + ":" + part;
      if (out.size() > (1 << 20)) refuse("a tuple is too large for a key");
    }
    return out;
  }
  if (key.is_undefined()) return "u";
  refuse(std::string("unhashable type: '") + key.type_name() + "'");
}
const Value* Dict::find(const Value& key) const {
  const auto found = index.find(key_of(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}
const Value* Dict::find_text(std::string_view key) const {
  const auto found = index.find("s" + std::string(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}
void Dict::set(const Value& key, Value value) {
  const auto [place, fresh] = index.emplace(key_of(key), items.size());
  if (fresh)
    items.emplace_back(key, std::move(value));
  else
    items[place->second].second = std::move(value);
}

bool equal(const Value& a, const Value& b) { return equal_at(a, b, 0); }

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b) == -1;
  if (a.text() && b.text()) return a.text()->bytes() < b.text()->bytes();  // UTF-8 sorts as code points do
  if (a.list() && b.list() && (*a.list())->kind == (*b.list())->kind && (*a.list())->kind <= List::kTuple) {
    const auto &x = (*a.list())->items, &y = (*b.list())->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return less(x[i], y[i]);
    return x.size() < y.size();
  }
  if (a.is_undefined() || b.is_undefined()) refuse((a.is_undefined() ? a : b).why_undefined());
  refuse(std::string("'<' not supported between instances of '") + a.type_name() + "' and '" + b.type_name() + "'");
}

std::string to_string(Int i) {
  std::string out;
  const bool negative = i < 0;
  do {
    const int digit = static_cast<int>(i % 10);
    out.push_back(static_cast<char>('0' + (digit < 0 ? -digit : digit)));
    i /= 10;
  } while (i != 0);
  if (negative) out.push_back('-');
  std::reverse(out.begin(), out.end());
  return out;
}

std::string to_string(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  std::string s(buffer, end);
  const size_t e = s.find('e');
  const int exponent = std::stoi(s.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return s;  // two digits of exponent at least, as Python has it
  end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::fixed).ptr;
  s.assign(buffer, end);
  return s.find('.') == std::string::npos ? s + ".0" : s;
}

void write_str(const Value& value, Text& out) {
  if (value.text())
    out.append(*value.text());
  else if (!value.is_undefined())
    write_repr(value, out);
}

void write_repr(const Value& value, Text& out, int depth) {
  if (depth > kMaxDepth) refuse("data nested too deeply to print");
  const auto all = [&](const std::vector<Value>& items) {
    bool first = true;
    for (const Value& item : items) {
      if (!first) out.append(", ");
      first = false;
      write_repr(item, out, depth + 1);
    }
  };
  if (value.is_undefined()) {
    out.append("Undefined");
  } else if (value.is_none()) {
    out.append("None");
  } else if (value.boolean()) {
    out.append(*value.boolean() ? "True" : "False");
  } else if (value.integer()) {
    out.append(to_string(*value.integer()));
  } else if (value.real()) {
    out.append(to_string(*value.real()));
  } else if (value.text()) {
    write_quoted(*value.text(), out);
  } else if (value.list()) {
    const List& list = **value.list();
    if (list.kind == List::kRange) return out.append(list.printed);
    if (list.kind == List::kGenerator) return out.append("<generator object>");
    const bool view = list.kind > List::kGenerator;
    if (view) out.append(std::string(value.type_name()) + "(");
    out.append(list.kind == List::kTuple ? "(" : "[");
    all(list.items);
    out.append(list.kind == List::kTuple ? (list.items.size() == 1 ? ",)" : ")") : "]");
    if (view) out.append(")");
  } else if (value.dict()) {
    out.append("{");
    bool first = true;
    for (const auto& [key, item] : (*value.dict())->items) {
      if (!first) out.append(", ");
      first = false;
      write_repr(key, out, depth + 1);
      out.append(": ");
      write_repr(item, out, depth + 1);
    }
    out.append("}");
  } else {
    out.append(std::string("<") + value.type_name() + ">");
  }
}

Text str(const Value& value) {
  if (value.text()) return *value.text();
  Text out;
  write_str(value, out);
  return out;
}

std::vector<Value> iterate(const Value& value) {
  if (value.list()) {
    List& list = **value.list();
    if (list.kind != List::kGenerator) return list.items;
    if (list.consumed) return {};
    list.consumed = true;
    return list.items;
  }
  std::vector<Value> out;
  if (value.text()) {
    const Text& text = *value.text();
    for_each_character(text, [&](char32_t, size_t begin, size_t end) { out.emplace_back(text.slice(begin, end)); });
  } else if (value.dict()) {
    for (const auto& [key, item] : (*value.dict())->items) out.push_back(key);
  } else if (!value.is_undefined()) {
    refuse(std::string("'") + value.type_name() + "' object is not iterable");
  }
  return out;
}

bool contains(const Value& container, const Value& item) {
  if (container.text()) {
    if (item.is_undefined()) refuse(item.why_undefined());
    if (!item.text()) refuse(std::string("'in <string>' requires string as left operand, not ") + item.type_name());
    return container.text()->bytes().find(item.text()->bytes()) != std::string::npos;
  }
  if (container.dict()) return (*container.dict())->find(item) != nullptr;
  if (container.list()) {
    const List& list = **container.list();
    return std::any_of(list.items.begin(), list.items.end(), [&](const Value& v) { return equal(v, item); });
  }
  if (container.is_undefined()) return false;
  refuse(std::string("argument of type '") + container.type_name() + "' is not iterable");
}

std::optional<size_t> length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.text()) return count_characters(value.text()->bytes());
  if (value.dict()) return (*value.dict())->items.size();
  if (value.list() && (*value.list())->kind != List::kGenerator) return (*value.list())->items.size();
  return std::nullopt;
}

}  // namespace fathom::jinja
