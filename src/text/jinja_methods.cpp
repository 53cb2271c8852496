// Methods of str, list, tuple and dict, as Python has them. What would change data is refused.
#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "text/jinja_arguments.h"
#include "text/jinja_characters.h"
#include "text/jinja_evaluator.h"

namespace fathom::jinja {
namespace {

using TextMethod = Value (*)(const Text& text, const std::string& name, const Arguments& arguments);

std::vector<Value> pieces(const std::vector<Text>& texts) { return {texts.begin(), texts.end()}; }

// sep given: at each of it, from the left or right, not more than `most` times; else at runs of white space.
std::vector<Value> split(const Text& text, const std::string* separator, int64_t most, bool from_right) {
  std::vector<Text> out;
  const std::string& s = text.bytes();
  if (separator) {
    if (separator->empty()) refuse("empty separator");
    if (!from_right) {
      size_t begin = 0;
      for (size_t at;
           (most < 0 || static_cast<int64_t>(out.size()) < most) && (at = s.find(*separator, begin)) != std::string::npos;
           begin = at + separator->size())
        out.push_back(text.slice(begin, at));
      out.push_back(text.slice(begin, s.size()));
    } else {
      size_t end = s.size();
      while ((most < 0 || static_cast<int64_t>(out.size()) < most) && end >= separator->size()) {
        const size_t at = s.rfind(*separator, end - separator->size());
        if (at == std::string::npos) break;
        out.push_back(text.slice(at + separator->size(), end));
        end = at;
      }
      out.push_back(text.slice(0, end));
      std::reverse(out.begin(), out.end());
    }
    return pieces(out);
  }
  std::vector<std::pair<size_t, size_t>> words;
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {
    if (is_space(c)) return;
    if (!words.empty() && words.back().second == begin)
      words.back().second = end;
    else
      words.emplace_back(begin, end);
  });
  const size_t n = words.size(), limit = most < 0 ? n : std::min<size_t>(n, static_cast<size_t>(most));
  if (n > limit && !from_right) {
    words[limit].second = text.size();
    words.resize(limit + 1);
  } else if (n > limit) {
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(n - limit - 1));
    words[0].first = 0;
  }
  for (const auto& [begin, end] : words) out.push_back(text.slice(begin, end));
  return pieces(out);
}

Value split_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"sep", "maxsplit"});
  const std::string* separator = bound.has(0) ? &bound.text(0).bytes() : nullptr;
  return make_list(split(text, separator, bound.integer(1, -1), name == "rsplit"));
}

Value strip_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"chars"});
  const std::string* set = bound.has(0) ? &bound.text(0).bytes() : nullptr;
  const size_t begin = name == "rstrip" ? 0 : strip_left(text, set);
  const size_t end = name == "lstrip" ? text.size() : strip_right(text, set, begin);
  return Value(text.slice(begin, end));
}

// The part of a text that optional start and end mean, as bytes.
std::pair<size_t, size_t> part_of(const Text& text, const Bound& bound) {
  if (!bound.has(1) && !bound.has(2)) return {0, text.size()};
  const std::vector<size_t> starts = character_starts(text.bytes());
  const auto n = static_cast<int64_t>(starts.size()) - 1;
  const auto place = [&](size_t i, int64_t fallback) {
    const int64_t at = bound.integer(i, fallback);
    return std::clamp<int64_t>(at < 0 ? at + n : at, 0, n);
  };
  const int64_t begin = place(1, 0), end = std::max(begin, place(2, n));
  return {starts[static_cast<size_t>(begin)], starts[static_cast<size_t>(end)]};
}

Value ends_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"prefix", "start", "end"});
  const auto [begin, end] = part_of(text, bound);
  const std::string_view part = std::string_view(text.bytes()).substr(begin, end - begin);
  const auto holds = [&, &name = name](const Value& v) {
    if (!v.text()) refuse(name + " first arg must be str or a tuple of str, not " + v.type_name());
    return name == "startswith" ? part.starts_with(v.text()->bytes()) : part.ends_with(v.text()->bytes());
  };
  const Value& what = bound.required(0);
  if (what.list() && (*what.list())->kind == List::kTuple) {
    const auto& items = (*what.list())->items;
    return Value(std::any_of(items.begin(), items.end(), holds));
  }
  return Value(holds(what));
}

Value find_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"sub", "start", "end"});
  const auto [begin, end] = part_of(text, bound);
  const std::string_view part = std::string_view(text.bytes()).substr(begin, end - begin);
  const std::string& what = bound.text(0).bytes();
  if (name == "count") {
    if (what.empty()) return Value(count_characters(part) + 1);
    size_t n = 0;
    for (size_t at = part.find(what); at != std::string_view::npos; at = part.find(what, at + what.size())) ++n;
    return Value(n);
  }
  const size_t at = name[0] == 'r' ? part.rfind(what) : part.find(what);
  if (at != std::string_view::npos) return Value(count_characters(std::string_view(text.bytes()).substr(0, begin + at)));
  if (name.ends_with("index")) refuse("substring not found");
  return Value(-1);
}

Value replace_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"old", "new", "count"});
  const std::string& old = bound.text(0).bytes();
  const Text& fresh = bound.text(1);
  int64_t left = bound.integer(2, -1);
  Text out;
  size_t begin = 0;
  const auto check = [&] {
    if (out.size() > (size_t{64} << 20)) refuse("a text is longer than 64 MiB");
  };
  if (old.empty()) {  // between all characters
    for_each_character(text, [&](char32_t, size_t from, size_t to) {
      if (left != 0) out.append(fresh), --left;
      out.append(text, from, to);
      check();
    });
    if (left != 0) out.append(fresh);
    return Value(std::move(out));
  }
  for (size_t at; left != 0 && (at = text.bytes().find(old, begin)) != std::string::npos; begin = at + old.size(), --left) {
    out.append(text, begin, at);
    out.append(fresh);
    check();
  }
  out.append(text, begin, text.size());
  return Value(std::move(out));
}

Value case_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  if (name == "upper") return Value(upper(text));
  if (name == "lower" || name == "casefold") return Value(lower(text));
  if (name == "capitalize") return Value(capitalized(text));
  Text out;
  bool in_word = false;
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {  // title, swapcase
    const Text one = text.slice(begin, end);
    out.append(name == "title" ? (in_word ? lower(one) : upper(one)) : is_upper(c) ? lower(one) : upper(one));
    in_word = is_alpha(c);
  });
  return Value(std::move(out));
}

Value class_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {});
  bool all = true, cased = false;
  for_each_character(text, [&](char32_t c, size_t, size_t) {
    if (name == "isupper" || name == "islower") {
      cased = cased || is_upper(c) || is_lower(c);
      all = all && !(name == "isupper" ? is_lower(c) : is_upper(c));
    } else {
      all = all && (name == "isdigit" || name == "isdecimal" ? is_digit(c)
                    : name == "isnumeric"                    ? is_numeric(c)
                    : name == "isalpha"                      ? is_alpha(c)
                    : name == "isalnum"                      ? is_alpha(c) || is_numeric(c)
                    : name == "isspace"                      ? is_space(c)
                                                             : c < 0x80);
    }
  });
  if (name == "isupper" || name == "islower") return Value(all && cased);
  return Value(all && (!text.empty() || name == "isascii"));
}

Value partition_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"sep"});
  const Text& separator = bound.text(0);
  if (separator.empty()) refuse("empty separator");
  const bool right = name == "rpartition";
  const size_t at = right ? text.bytes().rfind(separator.bytes()) : text.bytes().find(separator.bytes());
  if (at == std::string::npos)
    return make_list(right ? std::vector<Value>{Text(), Text(), text} : std::vector<Value>{text, Text(), Text()}, List::kTuple);
  return make_list({text.slice(0, at), text.slice(at, at + separator.size()), text.slice(at + separator.size(), text.size())},
                   List::kTuple);
}

Value affix_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"affix"});
  const std::string& affix = bound.text(0).bytes();
  if (name == "removeprefix") return Value(text.bytes().starts_with(affix) ? text.slice(affix.size(), text.size()) : text);
  return Value(text.bytes().ends_with(affix) ? text.slice(0, text.size() - affix.size()) : text);
}

Value pad_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"width", "fillchar"});
  bound.required(0);
  const auto size = static_cast<int64_t>(count_characters(text.bytes()));
  const int64_t width = bound.integer(0, 0), pad = width < size ? 0 : width - size;
  if (pad > (1 << 20)) refuse(name + ": the width is too large");
  const std::string fill = name == "zfill" ? "0" : bound.text_or(1, " ");
  if (count_characters(fill) != 1) refuse(name + ": the fill character must be exactly one character long");
  int64_t before = name == "ljust" ? 0 : pad;
  if (name == "center") before = pad / 2 + (pad & width & 1);  // where str.center puts the odd one
  Text out;
  size_t begin = 0;
  if (name == "zfill" && !text.empty() && (text[0] == '-' || text[0] == '+')) out.append(text, 0, begin = 1);
  for (int64_t i = 0; i < before; ++i) out.append(fill);
  out.append(text, begin, text.size());
  for (int64_t i = before; i < pad; ++i) out.append(fill);
  return Value(std::move(out));
}

Value join_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"iterable"});
  Text out;
  size_t i = 0;
  for (const Value& item : iterate(bound.required(0))) {
    if (!item.text()) refuse("sequence item " + std::to_string(i) + ": expected str instance, " + item.type_name() + " found");
    if (i++ > 0) out.append(text);
    out.append(*item.text());
    if (out.size() > (size_t{64} << 20)) refuse("a text is longer than 64 MiB");
  }
  return Value(std::move(out));
}

Value lines_method(const Text& text, const std::string& name, const Arguments& arguments) {
  const Bound bound(name, arguments, {"keepends"});
  if (bound.truth(0, false)) refuse("splitlines(keepends=true) is not supported");
  return make_list(pieces(split_lines(text)));
}

// {} {0} {name}, without conversion and format.
Value format_method(const Text& text, const std::string&, const Arguments& arguments) {
  Text out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      out.append(text, i, i + 1);
      ++i;
    } else if (c == '{') {
      const size_t end = text.bytes().find('}', i);
      if (end == std::string::npos) refuse("expected '}' before end of string");
      const std::string field = text.bytes().substr(i + 1, end - i - 1);
      if (field.find_first_of(":!.[{") != std::string::npos) refuse("str.format: the field '" + field + "' is not supported");
      const Value* value = nullptr;
      if (field.find_first_not_of("0123456789") == std::string::npos) {
        const size_t at = field.empty() ? next++ : field.size() > 6 ? ~size_t{0} : std::stoul(field);
        if (at >= arguments.positional.size()) refuse("replacement index out of range for positional arguments");
        value = &arguments.positional[at];
      } else {
        for (const auto& [name, v] : arguments.named)
          if (name == field) value = &v;
        if (!value) refuse("str.format: no argument '" + field + "'");
      }
      write_str(*value, out);
      i = end;
    } else if (c == '}') {
      refuse("single '}' encountered in format string");
    } else {
      out.append(text, i, i + 1);
    }
    if (out.size() > (size_t{64} << 20)) refuse("a text is longer than 64 MiB");
  }
  return Value(std::move(out));
}

const std::unordered_map<std::string, TextMethod>& text_methods() {
  static const std::unordered_map<std::string, TextMethod> table = {
      {"split", split_method},        {"rsplit", split_method},        {"strip", strip_method},
      {"lstrip", strip_method},       {"rstrip", strip_method},        {"startswith", ends_method},
      {"endswith", ends_method},      {"find", find_method},           {"rfind", find_method},
      {"index", find_method},         {"rindex", find_method},         {"count", find_method},
      {"replace", replace_method},    {"upper", case_method},          {"lower", case_method},
      {"casefold", case_method},      {"capitalize", case_method},     {"title", case_method},
      {"swapcase", case_method},      {"isdigit", class_method},       {"isdecimal", class_method},
      {"isnumeric", class_method},    {"isalpha", class_method},       {"isalnum", class_method},
      {"isspace", class_method},      {"isupper", class_method},       {"islower", class_method},
      {"isascii", class_method},      {"partition", partition_method}, {"rpartition", partition_method},
      {"removeprefix", affix_method}, {"removesuffix", affix_method},  {"zfill", pad_method},
      {"center", pad_method},         {"ljust", pad_method},           {"rjust", pad_method},
      {"join", join_method},          {"splitlines", lines_method},    {"format", format_method}};
  return table;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
bool changes_data(std::string_view name) {
  return is_one_of(
      name, {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear", "update", "setdefault", "popitem"});
}

Value call_dict_method(const Value& object, const std::string& name, const Arguments& arguments) {
  const Dict& dict = **object.dict();
  if (name == "get") {
    const Bound bound(name, arguments, {"key", "default"});
    const Value& key = bound.required(0);
    if (const Value* found = dict.find(key)) return *found;
    return bound[1] ? *bound[1] : Value(None{});
  }
  const Bound bound(name, arguments, {});
  if (name == "copy") return object;  // data never changes
  std::vector<Value> out;
  for (const auto& [key, value] : dict.items)
    out.push_back(name == "keys" ? key : name == "values" ? value : make_list({key, value}, List::kTuple));
  return make_list(std::move(out), name == "keys" ? List::kKeys : name == "values" ? List::kValues : List::kItems);
}

Value call_list_method(const Value& object, const std::string& name, const Arguments& arguments) {
  const auto& items = (*object.list())->items;
  if (name == "copy") return object;
  const Bound bound(name, arguments, {"value"});
  const Value& wanted = bound.required(0);
  if (name == "count")
    return Value(
        static_cast<size_t>(std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(v, wanted); })));
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(items[i], wanted)) return Value(i);
  refuse("the value is not in list");
}

}  // namespace

bool has_method(const Value& object, const std::string& name) {
  if (object.text()) return text_methods().count(name) > 0;
  if (object.dict())
    return is_one_of(name, {"get", "items", "keys", "values", "copy", "update", "pop", "setdefault", "clear", "popitem"});
  if (!object.list()) return false;
  const List::Kind kind = (*object.list())->kind;
  if (kind > List::kRange) return false;
  return is_one_of(name, {"index", "count"}) || (kind == List::kList && (name == "copy" || changes_data(name)) &&
                                                 !is_one_of(name, {"update", "setdefault", "popitem"}));
}

Value call_method(Evaluator& evaluator, const Value& object, const std::string& name, const Arguments& arguments) {
  if (object.text()) return text_methods().at(name)(*object.text(), name, arguments);
  if (changes_data(name))
    refuse(std::string("access to attribute '") + name + "' of '" + object.type_name() + "' object is unsafe: it changes data");
  evaluator.charge(64 * length(object).value_or(0));
  return object.dict() ? call_dict_method(object, name, arguments) : call_list_method(object, name, arguments);
}

}  // namespace fathom::jinja
