#include "text/jinja_objects.h"

#include <algorithm>
#include <unordered_map>

#include "text/jinja_arguments.h"

namespace fathom::jinja {
namespace {

constexpr Int kMaxRange = 100'000;  // as jinja2's sandbox has it

Value object(std::shared_ptr<Object> o) { return Value(std::move(o)); }
Value function(Function::Body body) { return object(std::make_shared<Function>(std::move(body))); }

Value range(Evaluator&, const Arguments& arguments) {
  const Bound bound("range", arguments, {"start", "stop", "step"});
  Int start = 0, stop = bound.integer(0, 0), step = 1;
  bound.required(0);
  if (bound[1]) start = stop, stop = bound.integer(1, 0);
  if (bound[2]) step = bound.integer(2, 1);
  if (step == 0) refuse("range() arg 3 must not be zero");
  const Int span = step > 0 ? stop - start : start - stop, stride = step > 0 ? step : -step;
  const Int count = span <= 0 ? 0 : (span + stride - 1) / stride;
  if (count > kMaxRange) refuse("range too big: more than " + to_string(kMaxRange) + " items");
  const auto list = std::make_shared<List>();
  list->kind = List::kRange;
  list->printed = "range(" + to_string(start) + ", " + to_string(stop) + (step == 1 ? "" : ", " + to_string(step)) + ")";
  for (Int i = 0; i < count; ++i) list->items.emplace_back(start + i * step);
  return Value(list);
}

struct Cycler : Object, std::enable_shared_from_this<Cycler> {
  std::vector<Value> items;
  size_t at = 0;
  const char* type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(const std::string& name) const override {
    if (name == "current") return items[at];
    const auto self = std::const_pointer_cast<Cycler>(shared_from_this());
    if (name == "next")
      return function([self](Evaluator&, const Arguments&) {
        const size_t now = self->at;
        self->at = (now + 1) % self->items.size();
        return self->items[now];
      });
    if (name == "reset")
      return function([self](Evaluator&, const Arguments&) {
        self->at = 0;
        return Value(None{});
      });
    return std::nullopt;
  }
};
struct Joiner : Object {
  Value separator;
  bool used = false;
  const char* type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Evaluator&, const Arguments&) override {
    if (used) return separator;
    used = true;
    return Value(std::string());
  }
};
Value strftime_now(Evaluator& evaluator, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"});
  const std::string format = bound.text(0).bytes();
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string one = "%";
    if (++i < format.size() && format[i] == '-') one += format[i++];
    if (i >= format.size() ||
        std::string_view("aAbBcdDeFgGhHIjmMnpPrRStTuUVwWxXyYZz%").find(format[i]) == std::string_view::npos)
      refuse("strftime_now: the format '" + format + "' has a conversion that is not supported");
    one += format[i];
    char buffer[256];
    out.append(buffer, std::strftime(buffer, sizeof buffer, one.c_str(), &evaluator.now()));
  }
  return Value(std::move(out));
}

const std::unordered_map<std::string, Value>& globals() {
  static const std::unordered_map<std::string, Value> table = {
      {"range", function(range)},
      {"strftime_now", function(strftime_now)},
      {"raise_exception", function([](Evaluator&, const Arguments& arguments) -> Value {
         const Bound bound("raise_exception", arguments, {"message"});
         refuse(str(bound.required(0)).bytes());
       })},
      {"namespace", function([](Evaluator& e, const Arguments& arguments) { return e.make_namespace(arguments); })},
      {"dict", function([](Evaluator&, const Arguments& arguments) {
         const auto dict = std::make_shared<Dict>();
         if (arguments.positional.size() > 1) refuse("dict expected at most 1 argument");
         if (!arguments.positional.empty()) {
           const Value& from = arguments.positional[0];
           if (from.dict()) {
             *dict = **from.dict();
           } else {
             for (const Value& pair : iterate(from)) {
               const std::vector<Value> both = iterate(pair);
               if (both.size() != 2) refuse("dict(): an item is no pair");
               dict->set(both[0], both[1]);
             }
           }
         }
         for (const auto& [key, value] : arguments.named) dict->set(Value(key), value);
         return Value(dict);
       })},
      {"cycler", function([](Evaluator&, const Arguments& arguments) {
         const auto cycler = std::make_shared<Cycler>();
         cycler->items = arguments.positional;
         if (cycler->items.empty()) refuse("at least one item has to be provided");
         return object(cycler);
       })},
      {"joiner", function([](Evaluator&, const Arguments& arguments) {
         const Bound bound("joiner", arguments, {"sep"});
         const auto joiner = std::make_shared<Joiner>();
         joiner->separator = bound[0] ? *bound[0] : Value(std::string(", "));
         return object(joiner);
       })},
  };
  return table;
}

}  // namespace

const Value* find_global(const std::string& name) {
  const auto found = globals().find(name);
  return found == globals().end() ? nullptr : &found->second;
}

std::optional<Value> Namespace::attribute(const std::string& name) const {
  for (const auto& [key, value] : names)
    if (key == name) return value;
  return std::nullopt;
}
void Namespace::set(const std::string& name, Value value) {
  for (auto& [key, old] : names)
    if (key == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

Value Evaluator::make_namespace(const Arguments& arguments) {
  const auto out = std::make_shared<Namespace>();
  for (const Value& value : arguments.positional) {
    if (!value.dict()) refuse("namespace() takes keyword arguments or a dict");
    for (const auto& [key, item] : (*value.dict())->items) out->set(str(key).bytes(), item);
  }
  for (const auto& [key, value] : arguments.named) out->set(key, value);
  namespaces_.push_back(out);
  return Value(std::shared_ptr<Object>(out));
}

std::optional<Value> Loop::attribute(const std::string& name) const {
  const size_t n = items.size();
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(n - index);
  if (name == "revindex0") return Value(n - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == n);
  if (name == "length") return Value(n);
  if (name == "depth") return Value(depth);
  if (name == "depth0") return Value(depth - 1);
  if (name == "previtem") return index > 0 ? items[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < n ? items[index + 1] : Value::undefined("there is no next item");
  if (name == "cycle")
    return function([at = index](Evaluator&, const Arguments& arguments) {
      if (arguments.positional.empty()) refuse("no items for cycling given");
      return arguments.positional[at % arguments.positional.size()];
    });
  if (name == "changed")
    return function([weak = weak_from_this()](Evaluator&, const Arguments& arguments) {
      const auto self = std::const_pointer_cast<Loop>(weak.lock());
      if (!self) refuse("the loop is over");
      const auto& now = arguments.positional;
      const bool same =
          self->seen && self->changed.size() == now.size() && std::equal(now.begin(), now.end(), self->changed.begin(), equal);
      self->changed = now;
      self->seen = true;
      return Value(!same);
    });
  return std::nullopt;
}

Value Loop::call(Evaluator& evaluator, const Arguments& arguments) {
  if (!node) refuse("the loop must have the 'recursive' marker to be called");
  const Bound bound("loop", arguments, {"iterable"});
  return evaluator.run_loop(*node, scope, bound.required(0), depth + 1);
}

std::optional<Value> Macro::attribute(const std::string& name) const {
  if (name == "name") return node.kind == Node::kMacro ? Value(node.name) : Value(None{});
  if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& [parameter, fallback] : node.named) names.emplace_back(parameter);
    return make_list(std::move(names), List::kTuple);
  }
  if (name == "catch_varargs") return Value(uses_name(node, "varargs"));
  if (name == "catch_kwargs") return Value(uses_name(node, "kwargs"));
  if (name == "caller") return Value(uses_name(node, "caller"));
  return std::nullopt;
}

bool uses_name(const Node& node, const std::string& name) {
  if (node.kind == Node::kName && node.name == name) return true;
  const auto used = [&](const NodePtr& child) { return child && uses_name(*child, name); };
  if (std::any_of(node.children.begin(), node.children.end(), used)) return true;
  for (const auto& [key, child] : node.named)
    if (used(child)) return true;
  for (const Body& body : node.bodies)
    if (std::any_of(body.begin(), body.end(), used)) return true;
  return false;
}

}  // namespace fathom::jinja
