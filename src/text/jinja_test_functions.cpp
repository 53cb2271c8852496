// Tests: what stands behind `is`, in select and in reject.
#include "text/jinja_arguments.h"
#include "text/jinja_characters.h"
#include "text/jinja_filters.h"

namespace fathom::jinja {
namespace {

using Predicate = bool (*)(const Value& v);

// Tests without arguments.
template <Predicate kHolds>
bool plain(Evaluator&, const Value& v, const Arguments& arguments) {
  const Bound bound("the test", arguments, {});
  return kHolds(v);
}
// Tests against one other value.
template <bool (*kHolds)(const Value& a, const Value& b)>
bool against(Evaluator&, const Value& v, const Arguments& arguments) {
  const Bound bound("the test", arguments, {"other"});
  return kHolds(v, bound.required(0));
}

bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_string(const Value& v) { return v.text() != nullptr; }
bool is_mapping(const Value& v) { return v.dict() != nullptr; }
bool is_number(const Value& v) { return v.is_number(); }
bool is_integer(const Value& v) { return v.integer() != nullptr; }
bool is_float(const Value& v) { return v.real() != nullptr; }
bool is_boolean(const Value& v) { return v.boolean() != nullptr; }
bool is_true(const Value& v) { return v.boolean() && *v.boolean(); }
bool is_false(const Value& v) { return v.boolean() && !*v.boolean(); }
bool is_iterable(const Value& v) { return v.text() || v.list() || v.dict() || v.is_undefined(); }
bool is_indexable(const Value& v) {  // has a length and can be indexed: texts and mappings too
  return v.text() || v.dict() || v.is_undefined() || (v.list() && (*v.list())->kind <= List::kRange);
}
bool is_callable(const Value& v) { return v.object() && (*v.object())->callable(); }
bool is_escaped(const Value&) { return false; }

Int integer_of(const Value& v) {
  if (v.is_undefined()) refuse(v.why_undefined());
  const auto i = v.as_integer();
  if (!i) refuse(std::string("an integer is expected, not ") + v.type_name());
  return *i;
}
bool is_even(const Value& v) { return integer_of(v) % 2 == 0; }
bool is_odd(const Value& v) { return integer_of(v) % 2 != 0; }
bool is_divisible(const Value& a, const Value& b) {
  const Int d = integer_of(b);
  if (d == 0) refuse("integer division or modulo by zero");
  return d == -1 || integer_of(a) % d == 0;
}
template <bool kUpper>
bool has_case(const Value& v) {
  const Text text = str(v);
  bool all = true, cased = false;
  for_each_character(text, [&](char32_t c, size_t, size_t) {
    cased = cased || is_upper(c) || is_lower(c);
    all = all && !(kUpper ? is_lower(c) : is_upper(c));
  });
  return all && cased;
}

bool not_equal(const Value& a, const Value& b) { return !equal(a, b); }
bool greater(const Value& a, const Value& b) { return less(b, a); }
bool at_most(const Value& a, const Value& b) { return less(a, b) || equal(a, b); }
bool at_least(const Value& a, const Value& b) { return less(b, a) || equal(a, b); }
bool is_in(const Value& a, const Value& b) { return contains(b, a); }
bool is_same(const Value& a, const Value& b) { return a.same(b); }

template <bool (*kKnown)(const std::string&)>
bool is_known(Evaluator&, const Value& v, const Arguments& arguments) {
  const Bound bound("the test", arguments, {});
  return v.text() && kKnown(v.text()->bytes());
}

}  // namespace

const std::unordered_map<std::string, Test>& tests() {
  static const std::unordered_map<std::string, Test> table = {{"undefined", plain<is_undefined>},
                                                              {"defined", plain<is_defined>},
                                                              {"none", plain<is_none>},
                                                              {"string", plain<is_string>},
                                                              {"mapping", plain<is_mapping>},
                                                              {"number", plain<is_number>},
                                                              {"integer", plain<is_integer>},
                                                              {"float", plain<is_float>},
                                                              {"boolean", plain<is_boolean>},
                                                              {"true", plain<is_true>},
                                                              {"false", plain<is_false>},
                                                              {"iterable", plain<is_iterable>},
                                                              {"sequence", plain<is_indexable>},
                                                              {"callable", plain<is_callable>},
                                                              {"escaped", plain<is_escaped>},
                                                              {"even", plain<is_even>},
                                                              {"odd", plain<is_odd>},
                                                              {"upper", plain<has_case<true>>},
                                                              {"lower", plain<has_case<false>>},
                                                              {"divisibleby", against<is_divisible>},
                                                              {"eq", against<equal>},
                                                              {"==", against<equal>},
                                                              {"equalto", against<equal>},
                                                              {"ne", against<not_equal>},
                                                              {"!=", against<not_equal>},
                                                              {"lt", against<less>},
                                                              {"<", against<less>},
                                                              {"lessthan", against<less>},
                                                              {"gt", against<greater>},
                                                              {">", against<greater>},
                                                              {"greaterthan", against<greater>},
                                                              {"le", against<at_most>},
                                                              {"<=", against<at_most>},
                                                              {"ge", against<at_least>},
                                                              {">=", against<at_least>},
                                                              {"in", against<is_in>},
                                                              {"sameas", against<is_same>},
                                                              {"filter", is_known<is_filter>},
                                                              {"test", is_known<is_test>}};
  return table;
}

}  // namespace fathom::jinja
