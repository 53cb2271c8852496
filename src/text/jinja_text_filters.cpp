// Filters that make text.
#include <algorithm>

#include "text/jinja_arguments.h"
#include "text/jinja_characters.h"
#include "text/jinja_filters.h"
#include "text/jinja_json.h"

namespace fathom::jinja {
namespace {

// A method of str on str(input).
template <const char* const& kName>
Value by_method(Evaluator& e, const Value& input, const Arguments& arguments) {
  return call_method(e, Value(str(input)), kName, arguments);
}
constexpr const char* kStrip = "strip";
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";
constexpr const char* kReplace = "replace";

Value title(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("title", arguments, {});
  const Text text = str(input);
  Text out;
  bool start = true;  // words begin behind white space and - ( { [ <
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {
    const Text one = text.slice(begin, end);
    const bool between = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    out.append(between ? one : start ? upper(one) : lower(one));
    start = between;
  });
  return Value(std::move(out));
}

Value string(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("string", arguments, {});
  return Value(str(input));
}
Value same(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("safe", arguments, {});
  return input;
}

Value escape(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("escape", arguments, {});
  const Text text = str(input);
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (entity)
      out.append(entity, text.marks()[i]);
    else
      out.append(text, i, i + 1);
  }
  return Value(std::move(out));
}

Value indent(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  Text margin;
  if (bound[0] && bound[0]->text()) {
    margin = *bound[0]->text();
  } else {
    const int64_t width = bound.integer(0, 4);
    if (width > 4096) refuse("indent: the width is too large");
    margin = Text(std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' '));
  }
  Text text = str(input);
  text.append("\n");  // so that splitlines keeps an empty last line
  const std::vector<Text> lines = split_lines(text);
  Text out;
  if (bound.truth(1, false)) out.append(margin);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out.append("\n");
      if (!lines[i].empty() || bound.truth(2, false)) out.append(margin);
    }
    out.append(lines[i]);
    e.charge(margin.size());
  }
  return Value(std::move(out));
}

Value center(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("center", arguments, {"width"});
  return call_method(e, Value(str(input)), "center", {{bound[0] ? *bound[0] : Value(80)}, {}});
}

Value format(Evaluator&, const Value& input, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) refuse("format: positional and named arguments together");
  Value values = make_list(arguments.positional, List::kTuple);
  if (!arguments.named.empty()) {
    const auto dict = std::make_shared<Dict>();
    for (const auto& [name, value] : arguments.named) dict->set(Value(name), value);
    values = Value(dict);
  }
  return Value(format_percent(str(input), values));
}

Value tojson(Evaluator& e, const Value& input, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.truth(0, false);
  if (bound.has(1)) {
    if (bound[1]->text()) {
      style.indent = *bound[1]->text();
    } else {
      const int64_t width = std::max<int64_t>(0, bound.integer(1, 0));
      if (width > 256) refuse("tojson: the indent is too large");
      style.indent = Text(std::string(static_cast<size_t>(width), ' '));
    }
    style.item_separator = Text(",");
  }
  if (bound.has(2)) {
    const std::vector<Value> both = iterate(*bound[2]);
    if (both.size() != 2 || !both[0].text() || !both[1].text()) refuse("tojson: separators must be two strings");
    style.item_separator = *both[0].text();
    style.key_separator = *both[1].text();
  }
  style.sort_keys = bound.truth(3, false);
  return Value(to_json(e, input, style));
}

Value truncate(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Text text = str(input);
  const Text end = bound.has(2) ? bound.text(2) : Text("...");
  const int64_t length = bound.integer(0, 255), leeway = bound.integer(3, 5);
  const std::vector<size_t> starts = character_starts(text.bytes());
  const auto n = static_cast<int64_t>(starts.size()) - 1, tail = static_cast<int64_t>(count_characters(end.bytes()));
  if (length < tail) refuse("truncate: length is less than that of the end");
  if (leeway < 0) refuse("truncate: leeway is negative");
  if (n <= leeway || n - leeway <= length) return Value(text);
  Text out = text.slice(0, starts[static_cast<size_t>(length - tail)]);
  if (!bound.truth(1, false))
    if (const size_t blank = out.bytes().rfind(' '); blank != std::string::npos) out = out.slice(0, blank);
  out.append(end);
  return Value(std::move(out));
}

Value wordcount(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("wordcount", arguments, {});
  size_t n = 0;
  bool inside = false;
  for_each_character(str(input), [&](char32_t c, size_t, size_t) {
    const bool word = is_alpha(c) || is_numeric(c) || c == '_';
    n += word && !inside;
    inside = word;
  });
  return Value(n);
}

Value urlencode(Evaluator&, const Value& input, const Arguments& arguments) {
  const Bound bound("urlencode", arguments, {});
  const auto quote = [](const Text& text, Text& out, bool slash) {  // in a query a blank is +, in a path / stays
    for (size_t i = 0; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
                         c == '-' || c == '~' || (slash && c == '/');
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, plain ? "%c" : c == ' ' && !slash ? "+" : "%%%02X", c);
      out.append(buffer, text.marks()[i]);
    }
  };
  Text out;
  if (input.text() || !(input.dict() || input.list())) {
    quote(str(input), out, true);
    return Value(std::move(out));
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (input.dict()) {
    pairs = (*input.dict())->items;
  } else {
    for (const Value& pair : iterate(input)) {
      const std::vector<Value> both = iterate(pair);
      if (both.size() != 2) refuse("urlencode: an item is no pair");
      pairs.emplace_back(both[0], both[1]);
    }
  }
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out.append("&");
    quote(str(key), out, false);
    out.append("=");
    quote(str(value), out, false);
  }
  return Value(std::move(out));
}

}  // namespace

const FilterTable& text_filters() {
  static const FilterTable table = {{"trim", by_method<kStrip>},
                                    {"upper", by_method<kUpper>},
                                    {"lower", by_method<kLower>},
                                    {"capitalize", by_method<kCapitalize>},
                                    {"replace", by_method<kReplace>},
                                    {"title", title},
                                    {"string", string},
                                    {"safe", same},
                                    {"escape", escape},
                                    {"e", escape},
                                    {"forceescape", escape},
                                    {"indent", indent},
                                    {"center", center},
                                    {"format", format},
                                    {"tojson", tojson},
                                    {"truncate", truncate},
                                    {"wordcount", wordcount},
                                    {"urlencode", urlencode}};
  return table;
}

}  // namespace fathom::jinja
