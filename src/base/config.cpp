#include "base/config.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"

namespace fathom {
namespace {

[[noreturn]] void refuse(const std::string& place, const std::string& what) { fail_usage("config", place + ": " + what); }

// --- numbers: shortest text that reads back to the same bits

bool parse_number(const std::string& text, double* value) {
  if (text == ".inf" || text == "+.inf") return *value = INFINITY, true;
  if (text == "-.inf") return *value = -INFINITY, true;
  const char* begin = text.c_str() + (text.size() > 1 && text[0] == '+' && text[1] != '-');
  const char* end = text.c_str() + text.size();
  const auto read = std::from_chars(begin, end, *value);
  return read.ec == std::errc() && read.ptr == end && std::isfinite(*value);
}
std::string number_text(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  char text[40];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    double back = 0;
    if (parse_number(text, &back) && std::memcmp(&back, &value, sizeof back) == 0) break;
  }
  return text;
}
// Whole numbers may be written 1000000 or 1e6.
bool parse_integer(const std::string& text, int64_t* value) {
  const char* end = text.c_str() + text.size();
  const auto read = std::from_chars(text.c_str() + (text.size() > 1 && text[0] == '+' && text[1] != '-'), end, *value);
  if (read.ec == std::errc() && read.ptr == end) return true;
  double real;
  if (!parse_number(text, &real) || real != std::floor(real) || std::fabs(real) > 0x1p53) return false;
  *value = static_cast<int64_t>(real);
  return true;
}

std::string range_text(const char* what, double low, double high) {
  const bool below = low <= -1e300, above = high >= 1e300;
  if (below && above) return what;
  if (below) return std::string(what) + ", at most " + number_text(high);
  if (above) return std::string(what) + ", at least " + number_text(low);
  return std::string(what) + " from " + number_text(low) + " to " + number_text(high);
}
std::string range_text(const char* what, int64_t low, int64_t high) {
  const bool below = low == std::numeric_limits<int64_t>::min(), above = high == std::numeric_limits<int64_t>::max();
  if (below && above) return what;
  if (below) return std::string(what) + ", at most " + std::to_string(high);
  if (above) return std::string(what) + ", at least " + std::to_string(low);
  return std::string(what) + " from " + std::to_string(low) + " to " + std::to_string(high);
}
std::string choices_text(const std::vector<std::string>& choices) {
  std::string text;
  for (const auto& c : choices) text += (text.empty() ? "" : ", ") + c;
  return text.empty() ? "a text" : text;
}

// --- unknown names: the nearest known one is suggested

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}
std::string unknown_text(const std::string& name, const std::vector<std::string>& known) {
  std::string nearest, all;
  size_t best = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& k : known) {
    all += (all.empty() ? "" : ", ") + k;
    const size_t distance = name.size() > 100 ? best : edit_distance(name, k);
    if (distance < best) best = distance, nearest = k;
  }
  return "unknown key" + (nearest.empty() ? "" : "; did you mean '" + nearest + "'?") +
         (nearest.empty() ? "; allowed: " : " Allowed: ") + all;
}

// --- reading

struct Override {
  std::string text;  // as given: a.b=c
  YAML::Node value;
  bool used = false;
};

class Reader : public ConfigFields {
 public:
  Reader(const std::string& source, std::map<std::string, Override>& overrides) : source_(source), overrides_(overrides) {}

  void field(const char* name, double& value, const char*, double low, double high) override {
    const std::string allowed = range_text("a number", low, high);
    each(name, [&](const YAML::Node& node, const std::string& place) {
      double read;
      if (!parse_number(plain_scalar(node, place, allowed), &read)) wrong(node, place, "is not a number", allowed);
      if (!(read >= low && read <= high)) wrong(node, place, "is out of range", allowed);
      value = read;
    });
  }
  void field(const char* name, int64_t& value, const char*, int64_t low, int64_t high) override {
    const std::string allowed = range_text("a whole number", low, high);
    each(name, [&](const YAML::Node& node, const std::string& place) {
      int64_t read;
      if (!parse_integer(plain_scalar(node, place, allowed), &read))
        wrong(node, place, "is not a whole number of 64 bits", allowed);
      if (read < low || read > high) wrong(node, place, "is out of range", allowed);
      value = read;
    });
  }
  void field(const char* name, bool& value, const char*) override {
    each(name, [&](const YAML::Node& node, const std::string& place) {
      const std::string text = plain_scalar(node, place, "true, false");
      if (text != "true" && text != "false") wrong(node, place, "is neither true nor false", "true, false");
      value = text == "true";
    });
  }
  void field(const char* name, std::string& value, const char*, std::vector<std::string> choices) override {
    const std::string allowed = choices_text(choices);
    each(name, [&](const YAML::Node& node, const std::string& place) {
      const std::string text = scalar(node, place, allowed);
      if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end())
        wrong(node, place, "is not known", allowed);
      value = text;
    });
  }
  void field(const char* name, std::vector<std::string>& value, const char*) override {
    each(name, [&](const YAML::Node& node, const std::string& place) {
      value.clear();
      list(node, place, "a list of texts",
           [&](const YAML::Node& item) { value.push_back(scalar(item, place, "a list of texts")); });
    });
  }
  void field(const char* name, std::vector<double>& value, const char*) override {
    each(name, [&](const YAML::Node& node, const std::string& place) {
      value.clear();
      list(node, place, "a list of numbers", [&](const YAML::Node& item) {
        double read;
        if (!parse_number(plain_scalar(item, place, "a list of numbers"), &read))
          wrong(item, place, "is not a number", "a list of numbers");
        value.push_back(read);
      });
    });
  }
  void section(const char* name, const char*, const std::function<void(ConfigFields&)>& body) override {
    known_.push_back(name);
    const std::string path = path_ + name;
    if (const auto it = overrides_.find(path); it != overrides_.end())
      refuse("--set " + it->second.text, "'" + path + "' is a section; set one of its fields: --set " + path + ".FIELD=VALUE");
    read(find(name).value, path + ".", body);
  }

  // Reads one mapping: known fields through `body`, then looks for keys that nobody asked for.
  void read(const YAML::Node& node, const std::string& path, const ConfigBody& body) {
    if (node.IsDefined() && !node.IsNull() && !node.IsMap())
      refuse(place(node, path.empty() ? "" : path.substr(0, path.size() - 1)),
             "a section of `name: value` lines is expected here");
    Reader inner(source_, overrides_);
    inner.node_ = node;
    inner.path_ = path;
    inner.check_keys();
    body(inner);
    if (node.IsDefined() && node.IsMap())
      for (const auto& pair : node)
        if (const std::string key = pair.first.Scalar();
            std::find(inner.known_.begin(), inner.known_.end(), key) == inner.known_.end())
          refuse(place(pair.first, path + printable(key)), unknown_text(key, inner.known_));
    for (const auto& name : inner.known_) all_paths_.push_back(path + name);
    all_paths_.insert(all_paths_.end(), inner.all_paths_.begin(), inner.all_paths_.end());
  }
  const std::vector<std::string>& all_paths() const { return all_paths_; }

 private:
  std::string place(const YAML::Node& node, const std::string& path) const {
    const int line = node.Mark().line;
    return source_ + (line >= 0 ? ":" + std::to_string(line + 1) : "") + (path.empty() ? "" : ": " + path);
  }
  void check_keys() const {
    if (!node_.IsDefined() || !node_.IsMap()) return;
    std::map<std::string, int> seen;
    for (const auto& pair : node_) {
      if (!pair.first.IsScalar()) refuse(place(pair.first, path_), "a key must be a name");
      const auto [it, fresh] = seen.emplace(pair.first.Scalar(), pair.first.Mark().line);
      if (!fresh)
        refuse(place(pair.first, path_ + printable(it->first)),
               "the key occurs twice; first in line " + std::to_string(it->second + 1));
    }
  }
  struct Found {
    YAML::Node key = YAML::Node(YAML::NodeType::Undefined), value = YAML::Node(YAML::NodeType::Undefined);
  };
  Found find(const std::string& name) const {
    if (node_.IsDefined() && node_.IsMap())
      for (const auto& pair : node_)
        if (pair.first.Scalar() == name) return {pair.first, pair.second};
    return {};
  }
  // The file's value, then the override's.
  template <class Set>
  void each(const char* name, const Set& set) {
    known_.push_back(name);
    const std::string path = path_ + name;
    if (const Found found = find(name); found.value.IsDefined()) set(found.value, place(found.key, path));
    if (const auto it = overrides_.find(path); it != overrides_.end()) {
      it->second.used = true;
      set(it->second.value, "--set " + it->second.text + ": " + path);
    }
  }
  [[noreturn]] static void wrong(const YAML::Node& node, const std::string& place, const std::string& what,
                                 const std::string& allowed) {
    refuse(place, "'" + printable(node.Scalar(), 60) + "' " + what + "; allowed: " + allowed);
  }
  static std::string scalar(const YAML::Node& node, const std::string& place, const std::string& allowed) {
    if (node.IsNull()) refuse(place, "has no value; allowed: " + allowed);
    if (!node.IsScalar()) refuse(place, std::string("is a ") + (node.IsMap() ? "section" : "list") + "; allowed: " + allowed);
    // yaml-cpp writes the escapes \N, \_ and the like as single bytes.
    if (first_invalid_utf8(node.Scalar()) >= 0)
      refuse(place, "has an escape for a character above U+007F; write the character itself; allowed: " + allowed);
    return node.Scalar();
  }
  // Numbers and booleans: not in quotes.
  static std::string plain_scalar(const YAML::Node& node, const std::string& place, const std::string& allowed) {
    const std::string text = scalar(node, place, allowed);
    if (node.Tag() == "!") wrong(node, place, "is a text in quotes", allowed);
    return text;
  }
  template <class Item>
  static void list(const YAML::Node& node, const std::string& place, const char* allowed, const Item& item) {
    if (node.IsNull() || node.IsMap())
      refuse(place, std::string(node.IsMap() ? "is a section" : "has no value") + "; allowed: " + allowed);
    if (!node.IsSequence()) return item(node);  // one value is a list of one
    for (const auto& element : node) item(element);
  }

  const std::string& source_;
  std::map<std::string, Override>& overrides_;
  YAML::Node node_ = YAML::Node(YAML::NodeType::Undefined);
  std::string path_;
  std::vector<std::string> known_, all_paths_;
};

// Counts nothing and builds nothing: to see whether a second document follows.
struct NoEvents : YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

YAML::Node parse_yaml(const std::string& text, const std::string& source) {
  if (const int64_t bad = first_invalid_utf8(text); bad >= 0)
    refuse(source + ":" + std::to_string(1 + std::count(text.begin(), text.begin() + bad, '\n')), "not UTF-8");
  // YAML forbids them; yaml-cpp takes U+0000 for an escape and U+0004 for the end of the file.
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
  if (control != text.end())
    refuse(source + ":" + std::to_string(1 + std::count(text.begin(), control, '\n')),
           "holds the control character " + std::to_string(static_cast<int>(*control)) + "; write it as an escape in quotes");
  try {
    // yaml-cpp's LoadAll never ends on stray text such as ",", which it takes for documents without end: two are enough here.
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    NoEvents ignored;
    if (!parser.HandleNextDocument(ignored)) return YAML::Node(YAML::NodeType::Undefined);
    if (parser.HandleNextDocument(ignored))
      refuse(source, "something follows the first YAML document (a line `---`, or stray text); one is expected");
    return YAML::Load(text);
  } catch (const YAML::Exception& e) {
    refuse(source + (e.mark.line >= 0 ? ":" + std::to_string(e.mark.line + 1) : ""), "not YAML: " + e.msg);
  }
}

// --- writing

bool plain_text(const std::string& text) {  // needs no quotes in any YAML reader
  static const std::set<std::string> kWords = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"};
  std::string lower;
  for (const char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (text.empty() || kWords.count(lower) || !(std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/'))
    return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.-+") == std::string::npos;
}
std::string quoted(const std::string& text) {
  if (plain_text(text)) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02X", static_cast<unsigned char>(c));
      out += hex;
    } else {
      out += c;
    }
  }
  return out + "\"";
}
template <class T, class Text>
std::string joined(const std::vector<T>& values, const Text& text) {
  std::string out = "[";
  for (const auto& v : values) out += (out.size() > 1 ? ", " : "") + text(v);
  return out + "]";
}

class Writer : public ConfigFields {
 public:
  void field(const char* name, double& value, const char*, double, double) override { line(name, number_text(value)); }
  void field(const char* name, int64_t& value, const char*, int64_t, int64_t) override { line(name, std::to_string(value)); }
  void field(const char* name, bool& value, const char*) override { line(name, value ? "true" : "false"); }
  void field(const char* name, std::string& value, const char*, std::vector<std::string>) override {
    line(name, quoted(value));
  }
  void field(const char* name, std::vector<std::string>& value, const char*) override { line(name, joined(value, quoted)); }
  void field(const char* name, std::vector<double>& value, const char*) override { line(name, joined(value, number_text)); }
  void section(const char* name, const char*, const std::function<void(ConfigFields&)>& body) override {
    text_ += std::string(indent_, ' ') + name + ":\n";
    indent_ += 2;
    body(*this);
    indent_ -= 2;
  }
  const std::string& text() const { return text_; }

 private:
  void line(const char* name, const std::string& value) { text_ += std::string(indent_, ' ') + name + ": " + value + "\n"; }
  size_t indent_ = 0;
  std::string text_;
};

class Reference : public ConfigFields {
 public:
  void field(const char* name, double& value, const char* help, double low, double high) override {
    row(name, number_text(value), range_text("number", low, high), help);
  }
  void field(const char* name, int64_t& value, const char* help, int64_t low, int64_t high) override {
    row(name, std::to_string(value), range_text("whole number", low, high), help);
  }
  void field(const char* name, bool& value, const char* help) override {
    row(name, value ? "true" : "false", "true, false", help);
  }
  void field(const char* name, std::string& value, const char* help, std::vector<std::string> choices) override {
    row(name, quoted(value), choices.empty() ? "text" : choices_text(choices), help);
  }
  void field(const char* name, std::vector<std::string>& value, const char* help) override {
    row(name, joined(value, quoted), "list of texts", help);
  }
  void field(const char* name, std::vector<double>& value, const char* help) override {
    row(name, joined(value, number_text), "list of numbers", help);
  }
  void section(const char* name, const char* help, const std::function<void(ConfigFields&)>& body) override {
    const std::string outer = path_;
    text_ += "| **`" + path_ + name + "`** | | | " + escaped(help) + " |\n";
    path_ += std::string(name) + ".";
    body(*this);
    path_ = outer;
  }
  const std::string& text() const { return text_; }

 private:
  static std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
    return out;
  }
  void row(const char* name, const std::string& value, const std::string& range, const char* help) {
    text_ += "| `" + path_ + name + "` | `" + escaped(value) + "` | " + escaped(range) + " | " + escaped(help) + " |\n";
  }
  std::string path_, text_ = "| field | default | allowed | what it is |\n|---|---|---|---|\n";
};

}  // namespace

void read_config_text(const std::string& yaml, const std::string& source, const std::vector<std::string>& overrides,
                      const ConfigBody& body) {
  std::map<std::string, Override> by_path;
  for (const auto& text : overrides) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) refuse("--set " + text, "give SECTION.FIELD=VALUE");
    const std::string path = text.substr(0, equals);
    by_path[path] = {text, parse_yaml(text.substr(equals + 1), "--set " + text), false};  // the last one of a path counts
    if (!by_path[path].value.IsDefined()) by_path[path].value = YAML::Node();
  }
  try {
    Reader reader(source, by_path);
    reader.read(parse_yaml(yaml, source), "", body);
    for (const auto& [path, override] : by_path)
      if (!override.used) refuse("--set " + override.text, unknown_text(path, reader.all_paths()));
  } catch (const YAML::Exception& e) {  // what slipped through the checks above
    refuse(source + (e.mark.line >= 0 ? ":" + std::to_string(e.mark.line + 1) : ""), e.msg);
  }
}
void read_config(const std::string& path, const std::vector<std::string>& overrides, const ConfigBody& body) {
  read_config_text(path.empty() ? "" : read_file(path, int64_t{16} << 20), path.empty() ? "no file" : path, overrides, body);
}
std::string config_to_yaml(const ConfigBody& body) {
  Writer writer;
  body(writer);
  return writer.text();
}
std::string config_reference(const ConfigBody& body) {
  Reference reference;
  body(reference);
  return reference.text();
}

}  // namespace fathom
