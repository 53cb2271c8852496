#include "text/jinja_json.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "text/jinja_characters.h"

namespace fathom::jinja {
namespace {

class Writer {
 public:
  Writer(Evaluator& evaluator, const JsonStyle& style) : evaluator_(evaluator), style_(style) {}
  void write(const Value& value, int depth);
  Text out;

 private:
  void line(int depth) {
    if (!style_.indent) return;
    out.append("\n");
    for (int i = 0; i < depth; ++i) out.append(*style_.indent);
  }
  void number(double d) {
    out.append(std::isnan(d) ? "NaN" : std::isinf(d) ? (d < 0 ? "-Infinity" : "Infinity") : to_string(d));
  }
  void string(const Text& text);
  void key(const Value& value);
  void list(const std::vector<Value>& items, int depth);
  void dict(const Dict& dict, int depth);
  Evaluator& evaluator_;
  const JsonStyle& style_;
};

void Writer::string(const Text& text) {
  out.append("\"");
  for_each_character(text, [&](char32_t c, size_t begin, size_t end) {
    const char mark = text.marks()[begin];
    static constexpr std::string_view kShort = "\"\\\n\r\t\f\b", kNames = "\"\\nrtfb";
    char buffer[16];
    if (const size_t i = c < 0x80 ? kShort.find(static_cast<char>(c)) : std::string_view::npos; i != std::string_view::npos) {
      out.append("\\", mark);
      out.append(kNames.substr(i, 1), mark);
    } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7E && c < 0x10000)) {
      std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
      out.append(buffer, mark);
    } else if (style_.ensure_ascii && c >= 0x10000) {
      const auto v = static_cast<unsigned>(c - 0x10000);
      std::snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x", 0xD800 + (v >> 10), 0xDC00 + (v & 0x3FF));
      out.append(buffer, mark);
    } else {
      out.append(text, begin, end);
    }
  });
  out.append("\"");
}

void Writer::key(const Value& value) {
  if (value.text()) return string(*value.text());
  if (!value.is_none() && !value.is_number())
    refuse(std::string("keys must be str, int, float, bool or None, not ") + value.type_name());
  out.append("\"");
  write(value, 0);
  out.append("\"");
}

void Writer::list(const std::vector<Value>& items, int depth) {
  if (items.empty()) return out.append("[]");
  out.append("[");
  bool first = true;
  for (const Value& item : items) {
    if (!first) out.append(style_.item_separator);
    first = false;
    line(depth + 1);
    write(item, depth + 1);
  }
  line(depth);
  out.append("]");
}

void Writer::dict(const Dict& dict, int depth) {
  if (dict.items.empty()) return out.append("{}");
  std::vector<const std::pair<Value, Value>*> items;
  for (const auto& item : dict.items) items.push_back(&item);
  if (style_.sort_keys) {
    for (size_t i = 1; i < items.size(); ++i) less(items[i - 1]->first, items[i]->first);  // errors before the sort
    std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) { return less(a->first, b->first); });
  }
  out.append("{");
  bool first = true;
  for (const auto* item : items) {
    if (!first) out.append(style_.item_separator);
    first = false;
    line(depth + 1);
    key(item->first);
    out.append(style_.key_separator);
    write(item->second, depth + 1);
  }
  line(depth);
  out.append("}");
}

void Writer::write(const Value& value, int depth) {
  if (depth > 80) refuse("data nested too deeply for JSON");
  const size_t before = out.size();
  if (value.is_none()) {
    out.append("null");
  } else if (value.boolean()) {
    out.append(*value.boolean() ? "true" : "false");
  } else if (value.integer()) {
    out.append(to_string(*value.integer()));
  } else if (value.real()) {
    number(*value.real());
  } else if (value.text()) {
    string(*value.text());
  } else if (value.list() && (*value.list())->kind <= List::kTuple) {
    list((*value.list())->items, depth);
  } else if (value.dict()) {
    dict(**value.dict(), depth);
  } else {
    refuse(std::string("Object of type ") + value.type_name() + " is not JSON serializable");
  }
  evaluator_.charge(value.list() || value.dict() ? 0 : out.size() - before);
}

Value value_of(const Json& json, Mark mark) {
  switch (json.kind()) {
    case Json::Kind::kBoolean:
      return Value(json.get<bool>());
    case Json::Kind::kInteger:
      return Value(static_cast<Int>(json.get<int64_t>()));
    case Json::Kind::kUnsigned:
      return Value(static_cast<Int>(json.get<uint64_t>()));
    case Json::Kind::kReal:
      return Value(json.get<double>());
    case Json::Kind::kString:
      return Value(Text(json.get<std::string>(), mark));
    case Json::Kind::kArray: {
      std::vector<Value> items;
      for (const Json& item : json) items.push_back(value_of(item, mark));
      return make_list(std::move(items));
    }
    case Json::Kind::kObject: {
      const auto dict = std::make_shared<Dict>();
      for (const auto& [key, item] : json.members()) dict->set(Value(Text(key, mark)), value_of(item, mark));
      return Value(dict);
    }
    default:
      return Value(None{});
  }
}

}  // namespace

Text to_json(Evaluator& evaluator, const Value& value, const JsonStyle& style) {
  Writer writer(evaluator, style);
  writer.write(value, 0);
  return std::move(writer.out);
}

Value value_of_json(std::string_view json, const std::string& source, Mark mark) {
  return value_of(parse_json(json, source), mark);
}

}  // namespace fathom::jinja
