// Filters for lists and mappings.
#include <algorithm>
#include <functional>

#include "text/jinja_arguments.h"
#include "text/jinja_characters.h"
#include "text/jinja_filters.h"

namespace fathom::jinja {
namespace {

Value generator(std::vector<Value> items) { return make_list(std::move(items), List::kGenerator); }

// What items are compared by: an attribute of them, and letters without case.
std::function<Value(const Value&)> key_function(Evaluator& e, const Value* attribute, bool case_sensitive) {
  return [&e, attribute = attribute && !attribute->is_none() ? *attribute : Value(None{}), case_sensitive](const Value& item) {
    Value key = attribute.is_none() ? item : e.path(item, attribute);
    if (!case_sensitive && key.text()) key = Value(lower(*key.text()));
    return key;
  };
}

Value length_filter(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("length", arguments, {});
  const auto n = length(input);
  if (!n) refuse(std::string("object of type '") + input.type_name() + "' has no len()");
  return Value(*n);
}
Value first(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("first", arguments, {});
  std::vector<Value> items = iterate(input);
  return items.empty() ? Value::undefined("no first item, sequence was empty") : std::move(items.front());
}
Value last(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("last", arguments, {});
  if (input.list() && (*input.list())->kind == List::kGenerator) refuse("'generator' object is not reversible");
  std::vector<Value> items = iterate(input);
  return items.empty() ? Value::undefined("no last item, sequence was empty") : std::move(items.back());
}
Value list(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("list", arguments, {});
  return make_list(iterate(input));
}
Value items(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  if (input.is_undefined()) return generator({});
  if (!input.dict()) refuse("can only get item pairs from a mapping");
  return generator(iterate(call_method(e, input, "items", {})));
}

Value join(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  const Text separator = bound.has(0) ? str(*bound[0]) : Text();
  Text out;
  bool some = false;
  for (const Value& item : iterate(input)) {
    if (some) out.append(separator);
    some = true;
    const size_t before = out.size();
    write_str(bound.has(1) ? e.path(item, *bound[1]) : item, out);
    e.charge(out.size() - before + separator.size());
  }
  return Value(std::move(out));
}

Value reverse(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("reverse", arguments, {});
  std::vector<Value> items = iterate(input);
  std::reverse(items.begin(), items.end());
  if (!input.text()) return generator(std::move(items));
  Text out;
  for (const Value& c : items) out.append(*c.text());
  return Value(std::move(out));
}

void charge_sort(Evaluator& e, size_t n) {
  size_t levels = 1;
  while ((size_t{1} << levels) < n) ++levels;
  e.charge(64 * n * levels);
}
std::vector<Value> sorted(Evaluator& e, std::vector<Value> items, const std::function<Value(const Value&)>& key, bool reverse) {
  charge_sort(e, items.size());
  std::vector<std::pair<Value, size_t>> keys;
  for (size_t i = 0; i < items.size(); ++i) keys.emplace_back(key(items[i]), i);
  for (size_t i = 1; i < keys.size(); ++i) less(keys[i - 1].first, keys[i].first);  // errors before std::sort
  const auto before = [&](const auto& a, const auto& b) { return reverse ? less(b.first, a.first) : less(a.first, b.first); };
  // Not a strict order where nan is among them: a merge sort ends all the same.
  std::stable_sort(keys.begin(), keys.end(), before);
  std::vector<Value> out;
  for (const auto& [k, i] : keys) out.push_back(std::move(items[i]));
  return out;
}

Value sort(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  return make_list(sorted(e, iterate(input), key_function(e, bound[2], bound.truth(1, false)), bound.truth(0, false)));
}
Value dictsort(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text_or(1, "key");
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  if (!input.dict()) refuse(std::string("'") + input.type_name() + "' object has no attribute 'items'");
  const Value place(by == "key" ? 0 : 1);
  return make_list(sorted(e, iterate(call_method(e, input, "items", {})), key_function(e, &place, bound.truth(0, false)),
                          bound.truth(2, false)));
}
template <bool kMax>
Value extreme(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound(kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const auto key = key_function(e, bound[1], bound.truth(0, false));
  const std::vector<Value> items = iterate(input);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Value k = key(items[i]);
    if (!(kMax ? less(best_key, k) : less(k, best_key))) continue;
    best = i;
    best_key = std::move(k);
  }
  return items[best];
}
Value unique(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  const auto key = key_function(e, bound[1], bound.truth(0, false));
  Dict seen;
  std::vector<Value> out;
  for (Value& item : iterate(input)) {
    const Value k = key(item);
    if (seen.find(k)) continue;
    seen.set(k, Value(true));
    out.push_back(std::move(item));
  }
  return generator(std::move(out));
}
Value sum(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  Int integer = 0;
  double real = 0;
  bool is_real = false;
  const auto add = [&](const Value& v) {
    if (v.is_undefined()) refuse(v.why_undefined());
    if (!v.is_number()) refuse(std::string("unsupported operand type(s) for +: 'int' and '") + v.type_name() + "'");
    is_real = is_real || v.real();
    real += v.as_real();
    if (!v.real() && __builtin_add_overflow(integer, *v.as_integer(), &integer)) refuse("a number is too large");
  };
  if (bound[1]) add(*bound[1]);
  for (const Value& item : iterate(input)) add(bound.has(0) ? e.path(item, *bound[0]) : item);
  return is_real ? Value(real) : Value(integer);
}

Value map(Evaluator& e, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    const Bound bound("map", arguments, {"attribute", "default"});
    if (!bound[0]) refuse("map requires a filter argument");
    for (const Value& item : iterate(input)) {
      Value v = e.path(item, *bound[0]);
      out.push_back(v.is_undefined() && bound[1] ? *bound[1] : std::move(v));
    }
    return generator(std::move(out));
  }
  const std::string name = str(arguments.positional[0]).bytes();
  const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (const Value& item : iterate(input)) out.push_back(e.apply_filter(name, item, rest));
  return generator(std::move(out));
}

template <bool kKeep, bool kAttribute>
Value choose(Evaluator& e, const Value& input, const Arguments& arguments) {
  size_t used = 0;
  Value attribute(None{});
  if (kAttribute) {
    if (arguments.positional.empty()) refuse("Missing parameter for attribute name");
    attribute = arguments.positional[used++];
  }
  std::string test;
  if (used < arguments.positional.size()) test = str(arguments.positional[used++]).bytes();
  const Arguments rest{{arguments.positional.begin() + static_cast<std::ptrdiff_t>(used), arguments.positional.end()},
                       arguments.named};
  std::vector<Value> out;
  for (Value& item : iterate(input)) {
    const Value subject = kAttribute ? e.path(item, attribute) : item;
    const bool holds = test.empty() ? subject.truth() : e.apply_test(test, subject, rest);
    if (holds == kKeep) out.push_back(std::move(item));
  }
  return generator(std::move(out));
}

Value batch(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"});
  bound.required(0);
  const int64_t size = bound.integer(0, 1);
  if (size < 1) refuse("batch: linecount must be positive");
  std::vector<Value> out, line;
  for (Value& item : iterate(input)) {
    if (static_cast<int64_t>(line.size()) == size) out.push_back(make_list(std::exchange(line, {})));
    line.push_back(std::move(item));
  }
  if (!line.empty()) {
    if (bound.has(1)) {
      e.charge(static_cast<size_t>(std::min<int64_t>(size, int64_t{1} << 40)) * 64);
      line.resize(static_cast<size_t>(size), *bound[1]);
    }
    out.push_back(make_list(std::move(line)));
  }
  return generator(std::move(out));
}
Value slice_filter(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("slice", arguments, {"slices", "fill_with"});
  bound.required(0);
  const int64_t count = bound.integer(0, 1);
  if (count < 1) refuse("slice: slices must be positive");
  e.charge(static_cast<size_t>(std::min<int64_t>(count, int64_t{1} << 40)) * 64);
  const std::vector<Value> all = iterate(input);
  const auto n = static_cast<int64_t>(all.size()), each = n / count, longer = n % count;
  std::vector<Value> out;
  auto at = all.begin();
  for (int64_t i = 0; i < count; ++i) {
    std::vector<Value> part(at, at + each + (i < longer));
    at += each + (i < longer);
    if (bound.has(1) && i >= longer && longer > 0) part.push_back(*bound[1]);
    out.push_back(make_list(std::move(part)));
  }
  return generator(std::move(out));
}

Value groupby(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"});
  const Value attribute = bound.required(0);
  const bool case_sensitive = bound.truth(2, false);
  const auto value_of = [&](const Value& item) {
    Value v = e.path(item, attribute);
    return v.is_undefined() && bound[1] ? *bound[1] : v;
  };
  const auto key = [&](const Value& item) {
    Value v = value_of(item);
    return !case_sensitive && v.text() ? Value(lower(*v.text())) : v;
  };
  std::vector<Value> out, group;
  Value now;
  const auto flush = [&] {
    if (group.empty()) return;
    const Value name = value_of(group[0]);
    out.push_back(make_list({name, make_list(std::exchange(group, {}))}, List::kTuple));
  };
  for (Value& item : sorted(e, iterate(input), key, false)) {
    Value k = key(item);
    if (!group.empty() && !equal(k, now)) flush();
    now = std::move(k);
    group.push_back(std::move(item));
  }
  flush();
  return make_list(std::move(out));
}

}  // namespace

const FilterTable& sequence_filters() {
  static const FilterTable table = {{"length", length_filter},
                                    {"count", length_filter},
                                    {"first", first},
                                    {"last", last},
                                    {"list", list},
                                    {"items", items},
                                    {"join", join},
                                    {"reverse", reverse},
                                    {"sort", sort},
                                    {"dictsort", dictsort},
                                    {"min", extreme<false>},
                                    {"max", extreme<true>},
                                    {"unique", unique},
                                    {"sum", sum},
                                    {"map", map},
                                    {"select", choose<true, false>},
                                    {"reject", choose<false, false>},
                                    {"selectattr", choose<true, true>},
                                    {"rejectattr", choose<false, true>},
                                    {"batch", batch},
                                    {"slice", slice_filter},
                                    {"groupby", groupby}};
  return table;
}

}  // namespace fathom::jinja
