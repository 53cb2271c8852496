// Evaluation of expressions.
#include <algorithm>
#include <cmath>

#include "text/jinja_characters.h"
#include "text/jinja_evaluator.h"
#include "text/jinja_filters.h"
#include "text/jinja_objects.h"

namespace fathom::jinja {
namespace {

constexpr size_t kMaxText = size_t{64} << 20;  // bytes of one string
constexpr size_t kMaxItems = size_t{1} << 20;  // of one list made by the template

[[noreturn]] void refuse_operands(const std::string& op, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b})
    if (v->is_undefined()) refuse(v->why_undefined());
  if (op == "+" && a.text()) refuse(std::string("can only concatenate str (not \"") + b.type_name() + "\") to str");
  if (op == "+" && a.list()) refuse(std::string("can only concatenate list (not \"") + b.type_name() + "\") to list");
  refuse("unsupported operand type(s) for " + op + ": '" + a.type_name() + "' and '" + b.type_name() + "'");
}

Int floor_div(Int a, Int b) {
  const Int q = a / b;
  return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}

Value integer_arithmetic(const std::string& op, Int a, Int b) {
  Int out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "**") {
    if (b < 0) return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
    out = 1;
    for (Int i = 0; i < b && !overflow && !(i > 0 && (a == 0 || a == 1)); ++i) {
      if (a == -1) return Value(b % 2 == 0 ? Int{1} : Int{-1});
      overflow = __builtin_mul_overflow(out, a, &out);
    }
  } else {
    if (b == 0) refuse(op == "/" ? "division by zero" : "integer division or modulo by zero");
    if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
    overflow = b == -1 && a == -a && a != 0;  // the smallest number
    if (!overflow) out = op == "//" ? floor_div(a, b) : a - floor_div(a, b) * b;
  }
  if (overflow) refuse("a number is too large");
  return Value(out);
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") return Value(std::pow(a, b));
  if (b == 0) refuse("float division by zero");
  if (op == "/") return Value(a / b);
  if (op == "//") return Value(std::floor(a / b));
  const double r = std::fmod(a, b);
  return Value(r != 0 && (r < 0) != (b < 0) ? r + b : r);
}

Value repeated(const Value& what, Int times) {
  const size_t size = what.text() ? what.text()->size() : (*what.list())->items.size();
  if (times < 0) times = 0;
  if (size > 0 && times > static_cast<Int>((what.text() ? kMaxText : kMaxItems) / size))
    refuse("a repeated value is too large");
  if (what.text()) {
    Text out;
    for (Int i = 0; size > 0 && i < times; ++i) out.append(*what.text());
    return Value(std::move(out));
  }
  std::vector<Value> items;
  for (Int i = 0; size > 0 && i < times; ++i)
    items.insert(items.end(), (*what.list())->items.begin(), (*what.list())->items.end());
  return make_list(std::move(items), (*what.list())->kind);
}

bool is_sequence(const Value& v) { return v.text() || (v.list() && (*v.list())->kind <= List::kTuple); }

}  // namespace

Value Evaluator::charged(Value value) {
  if (value.text()) {
    charge(value.text()->size());
    if (value.text()->size() > kMaxText) refuse("a text is longer than 64 MiB");
  }
  if (value.list()) step(static_cast<int64_t>((*value.list())->items.size()));
  return value;
}

Value Evaluator::evaluate(const Node& node) {
  step(1);
  const auto value = [&](size_t i) { return evaluate(*node.children[i]); };
  switch (node.kind) {
    case Node::kLiteral:
      return node.value;
    case Node::kName: {
      if (const Value* found = scope_->find(node.name)) return *found;
      if (const Value* global = find_global(node.name)) return *global;
      return Value::undefined("'" + node.name + "' is undefined");
    }
    case Node::kList:
    case Node::kTuple: {
      std::vector<Value> items;
      for (size_t i = 0; i < node.children.size(); ++i) items.push_back(value(i));
      return make_list(std::move(items), node.kind == Node::kList ? List::kList : List::kTuple);
    }
    case Node::kDict: {
      const auto dict = std::make_shared<Dict>();
      for (size_t i = 0; i < node.children.size(); i += 2) dict->set(value(i), value(i + 1));
      return Value(dict);
    }
    case Node::kAttribute: {
      const Value object = value(0);
      at(node);
      return attribute(object, node.name);
    }
    case Node::kIndex: {
      const Value object = value(0), key = value(1);
      at(node);
      return item(object, key);
    }
    case Node::kSlice:
      return slice(node);
    case Node::kCall:
      return evaluate_call(node);
    case Node::kFilter:
      return filtered(node, nullptr);
    case Node::kTest: {
      const Value input = value(0);
      const Arguments given = arguments(node);
      at(node);
      return Value(apply_test(node.name, input, given) != node.flag);
    }
    case Node::kUnary: {
      const Value v = value(0);
      at(node);
      if (v.is_undefined()) refuse(v.why_undefined());
      if (!v.is_number()) refuse("bad operand type for unary " + node.name + ": '" + v.type_name() + "'");
      if (v.real()) return Value(node.name == "-" ? -*v.real() : *v.real());
      return node.name == "-" ? integer_arithmetic("-", 0, *v.as_integer()) : Value(*v.as_integer());
    }
    case Node::kBinary:
      return binary(node);
    case Node::kConcat: {
      Text out;
      for (size_t i = 0; i < node.children.size(); ++i) out.append(str(value(i)));
      at(node);
      return charged(Value(std::move(out)));
    }
    case Node::kCompare:
      return compare(node);
    case Node::kAnd:
    case Node::kOr: {
      Value v;
      for (size_t i = 0; i < node.children.size(); ++i) {
        v = value(i);
        if (v.truth() == (node.kind == Node::kOr)) break;
      }
      return v;
    }
    case Node::kNot:
      return Value(!value(0).truth());
    case Node::kConditional:
      if (value(1).truth()) return value(0);
      if (node.children[2]) return value(2);
      return Value::undefined("the inline if-expression has no else");
    default:
      refuse("a statement stands where an expression is expected");
  }
}

Value Evaluator::binary(const Node& node) {
  const Value a = evaluate(*node.children[0]), b = evaluate(*node.children[1]);
  at(node);
  const std::string& op = node.name;
  if (op == "%" && a.text()) return charged(Value(format_percent(*a.text(), b)));
  if (a.is_number() && b.is_number())
    return a.real() || b.real() ? real_arithmetic(op, a.as_real(), b.as_real())
                                : integer_arithmetic(op, *a.as_integer(), *b.as_integer());
  if (op == "+" && a.text() && b.text()) {
    charge(a.text()->size() + b.text()->size());
    Text out = *a.text();
    out.append(*b.text());
    return charged(Value(std::move(out)));
  }
  if (op == "+" && a.list() && b.list() && is_sequence(a) && (*a.list())->kind == (*b.list())->kind) {
    std::vector<Value> items = (*a.list())->items;
    items.insert(items.end(), (*b.list())->items.begin(), (*b.list())->items.end());
    return charged(make_list(std::move(items), (*a.list())->kind));
  }
  if (op == "*" && is_sequence(a) && b.as_integer()) return charged(repeated(a, *b.as_integer()));
  if (op == "*" && is_sequence(b) && a.as_integer()) return charged(repeated(b, *a.as_integer()));
  refuse_operands(op, a, b);
}

Value Evaluator::compare(const Node& node) {
  Value left = evaluate(*node.children[0]);
  for (size_t i = 0; i < node.words.size(); ++i) {
    const std::string& op = node.words[i];
    Value right = evaluate(*node.children[i + 1]);
    at(node);
    if (left.text() && right.text()) charge(std::min(left.text()->size(), right.text()->size()));
    if (op == "in" || op == "not in") {
      if (right.text()) charge(right.text()->size());
      if (right.list()) step(static_cast<int64_t>((*right.list())->items.size()));
    }
    const bool holds = op == "=="       ? equal(left, right)
                       : op == "!="     ? !equal(left, right)
                       : op == "in"     ? contains(right, left)
                       : op == "not in" ? !contains(right, left)
                       : op == "<"      ? less(left, right)
                       : op == ">"      ? less(right, left)
                       : op == "<="     ? less(left, right) || equal(left, right)
                                        : less(right, left) || equal(left, right);
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

// Python's slice(start, stop, step).indices(n), applied.
Value Evaluator::slice(const Node& node) {
  const Value object = evaluate(*node.children[0]);
  std::optional<Int> part[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!node.children[i + 1]) continue;
    const Value v = evaluate(*node.children[i + 1]);
    if (v.is_none()) continue;
    at(node);
    if (v.is_undefined()) refuse(v.why_undefined());
    part[i] = v.as_integer();
    if (!part[i]) refuse("slice indices must be integers or None");
  }
  at(node);
  if (object.is_undefined()) refuse(object.why_undefined());
  const bool sliceable = object.text() || (object.list() && (*object.list())->kind <= List::kRange);
  if (!sliceable) {
    if (object.dict()) refuse("unhashable type: 'slice'");
    return Value::undefined(object.described() + " cannot be sliced");
  }
  std::vector<size_t> starts;
  if (object.text()) {
    charge(object.text()->size());
    starts = character_starts(object.text()->bytes());
  }
  const Int n = static_cast<Int>(object.text() ? starts.size() - 1 : (*object.list())->items.size());
  const Int step_by = part[2].value_or(1);
  if (step_by == 0) refuse("slice step cannot be zero");
  const bool forward = step_by > 0;
  const auto clamped = [&](const std::optional<Int>& at, Int fallback) {
    if (!at) return fallback;
    const Int low = forward ? 0 : -1, high = forward ? n : n - 1;
    const Int i = *at < 0 ? (*at < -n ? low : *at + n) : *at;
    return std::clamp(i, low, std::max(low, high));
  };
  const Int start = clamped(part[0], forward ? 0 : n - 1), stop = clamped(part[1], forward ? n : -1);
  std::vector<Value> items;
  Text text;
  if (object.text() && step_by == 1) {
    if (start < stop) text = object.text()->slice(starts[static_cast<size_t>(start)], starts[static_cast<size_t>(stop)]);
    return charged(Value(std::move(text)));
  }
  for (Int i = start; forward ? i < stop : i > stop; i += std::clamp(step_by, -n - 1, n + 1)) {
    const auto k = static_cast<size_t>(i);
    if (object.text())
      text.append(*object.text(), starts[k], starts[k + 1]);
    else
      items.push_back((*object.list())->items[k]);
  }
  if (object.text()) return charged(Value(std::move(text)));
  const List::Kind kind = (*object.list())->kind;
  return charged(make_list(std::move(items), kind == List::kRange ? List::kList : kind));
}

Value Evaluator::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) refuse(object.why_undefined());
  if (has_method(object, name)) return Value(std::shared_ptr<Object>(std::make_shared<Method>(object, name)));
  if (object.dict())
    if (const Value* found = (*object.dict())->find_text(name)) return *found;
  if (object.object())
    if (auto found = (*object.object())->attribute(name)) return *std::move(found);
  return Value::undefined("'" + object.described() + "' has no attribute '" + name + "'");
}

Value Evaluator::item(const Value& object, const Value& key) {
  if (object.is_undefined()) refuse(object.why_undefined());
  if (object.dict() && !(key.list() && (*key.list())->kind != List::kTuple) && !key.dict() && !key.object())
    if (const Value* found = (*object.dict())->find(key)) return *found;
  if (const auto index = key.as_integer()) {
    if (object.list() && (*object.list())->kind <= List::kRange) {
      const auto& items = (*object.list())->items;
      const Int n = static_cast<Int>(items.size()), i = *index < 0 ? *index + n : *index;
      if (i >= 0 && i < n) return items[static_cast<size_t>(i)];
    } else if (object.text()) {
      charge(object.text()->size());
      const std::vector<size_t> starts = character_starts(object.text()->bytes());
      const Int n = static_cast<Int>(starts.size()) - 1, i = *index < 0 ? *index + n : *index;
      if (i >= 0 && i < n)
        return Value(object.text()->slice(starts[static_cast<size_t>(i)], starts[static_cast<size_t>(i) + 1]));
    }
  }
  if (key.text())
    return object.dict() && !has_method(object, key.text()->bytes())
               ? Value::undefined("'" + object.described() + "' has no attribute '" + key.text()->bytes() + "'")
               : attribute(object, key.text()->bytes());
  Text shown;
  write_repr(key, shown);
  return Value::undefined(object.described() + " has no element " + shown.bytes());
}

Value Evaluator::path(const Value& object, const Value& path) {
  if (!path.text()) return item(object, path);
  Value value = object;
  const std::string& name = path.text()->bytes();
  for (size_t at = 0; at <= name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    const std::string part = name.substr(at, dot - at);
    at = dot + 1;
    step(1);
    const bool number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    value = number ? item(value, Value(std::stoi(part))) : item(value, Value(part));
  }
  return value;
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) refuse(callee.why_undefined());
  if (!callee.object()) refuse(std::string("'") + callee.type_name() + "' object is not callable");
  const std::shared_ptr<Object> object = *callee.object();
  return charged(object->call(*this, arguments));
}

Value Evaluator::evaluate_call(const Node& node, const Value* caller) {
  const Node& callee = *node.children[0];
  if (callee.kind == Node::kAttribute && !caller) {  // object.method(…): no bound method is made
    const Value object = evaluate(*callee.children[0]);
    at(callee);
    if (object.is_undefined()) refuse(object.why_undefined());
    if (has_method(object, callee.name)) {
      const Arguments given = arguments(node);
      at(node);
      if (object.text()) charge(object.text()->size());
      return charged(call_method(*this, object, callee.name, given));
    }
    const Value function = attribute(object, callee.name);
    const Arguments given = arguments(node);
    at(node);
    return call(function, given);
  }
  const Value function = evaluate(callee);
  Arguments given = arguments(node);
  if (caller) given.named.emplace_back("caller", *caller);
  at(node);
  return call(function, given);
}

Arguments Evaluator::arguments(const Node& node) {
  Arguments out;
  for (size_t i = 1; i < node.children.size(); ++i) {
    const Node& child = *node.children[i];
    if (child.kind == Node::kStar) {
      for (Value& v : iterate(evaluate(*child.children[0]))) out.positional.push_back(std::move(v));
    } else if (child.kind == Node::kStarStar) {
      const Value v = evaluate(*child.children[0]);
      if (!v.dict()) refuse("argument after ** must be a mapping, not " + std::string(v.type_name()));
      for (const auto& [key, value] : (*v.dict())->items) {
        if (!key.text()) refuse("keywords must be strings");
        out.named.emplace_back(key.text()->bytes(), value);
      }
    } else {
      out.positional.push_back(evaluate(child));
    }
    step(static_cast<int64_t>(out.positional.size() / 16));
  }
  for (const auto& [name, value] : node.named) out.named.emplace_back(name, evaluate(*value));
  return out;
}

Value Evaluator::filtered(const Node& node, const Value* block) {
  const Value input = node.children[0] ? (block && node.children[0]->kind == Node::kFilter ? filtered(*node.children[0], block)
                                                                                           : evaluate(*node.children[0]))
                                       : *block;
  const Arguments given = arguments(node);
  at(node);
  return apply_filter(node.name, input, given);
}

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (!filter) refuse("no filter named '" + name + "'");
  if (input.text()) charge(input.text()->size());
  return charged(filter(*this, input, arguments));
}

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) refuse("no test named '" + name + "'");
  step(1);
  return found->second(*this, input, arguments);
}

}  // namespace fathom::jinja
