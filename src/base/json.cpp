#include "base/json.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <ostream>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"

namespace fathom {
namespace {

using Library = nlohmann::ordered_json;

const char* name_of(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBoolean:
      return "true or false";
    case Json::Kind::kString:
      return "a string";
    case Json::Kind::kArray:
      return "an array";
    case Json::Kind::kObject:
      return "an object";
    default:
      return "a number";
  }
}
[[noreturn]] void refuse_kind(const char* expected, Json::Kind kind) {
  throw JsonError(std::string(expected) + " is expected, not " + name_of(kind));
}

// For the serialiser. Members are put at the end without the library's search for an equal key.
Library library_value(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::kNull:
      return nullptr;
    case Json::Kind::kBoolean:
      return json.get<bool>();
    case Json::Kind::kInteger:
      return json.get<int64_t>();
    case Json::Kind::kUnsigned:
      return json.get<uint64_t>();
    case Json::Kind::kReal:
      return json.get<double>();
    case Json::Kind::kString:
      return json.text();
    case Json::Kind::kArray: {
      Library::array_t items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(library_value(item));
      return items;
    }
    case Json::Kind::kObject:
      break;
  }
  Library value = Library::object();
  auto& members = value.get_ref<Library::object_t&>();
  members.reserve(json.size());
  for (const auto& [key, member] : json.members()) members.emplace_back(key, library_value(member));
  return value;
}

// "[json.exception…] parse error at line 1, column 2: what": the last part.
std::string reason_of(const nlohmann::detail::exception& error) {
  std::string what = error.what();
  if (const size_t at = what.find("column "); at != std::string::npos)
    if (const size_t colon = what.find(": ", at); colon != std::string::npos) what = what.substr(colon + 2);
  if (what.rfind("[json", 0) == 0)
    if (const size_t bracket = what.find("] "); bracket != std::string::npos) what = what.substr(bracket + 2);
  return printable(what, 200);
}

// Tells how far the lexer has read, so that our own refusals can name a line.
class Cursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  Cursor() = default;
  Cursor(const char* at, const char** seen) : at_(at), seen_(seen) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const Cursor& a, const Cursor& b) { return a.at_ == b.at_; }
  friend bool operator!=(const Cursor& a, const Cursor& b) { return a.at_ != b.at_; }

 private:
  const char* at_ = nullptr;
  const char** seen_ = nullptr;
};

// Builds the value; every container is filled apart and moved into its parent once.
class Builder {
 public:
  Builder(std::string_view text, const std::string& source, int max_depth)
      : text_(text), source_(source), max_depth_(max_depth) {
    seen_ = text.data();
  }
  Json parse() {
    const char* end = text_.data() + text_.size();
    Library::sax_parse(Cursor(text_.data(), &seen_), Cursor(end, &seen_), this);
    return std::move(root_);
  }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Library::number_integer_t value) { return add(value); }
  bool number_unsigned(Library::number_unsigned_t value) { return add(value); }
  // Integers beyond 64 bits too: transformers writes 10^30 where a tokenizer has no longest input. Nobody takes a real for a
  // count.
  bool number_float(Library::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Library::binary_t&) { refuse("binary data"); }
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }
  bool key(std::string& name) {
    Frame& frame = stack_.back();
    bool repeated = false;
    if (frame.members.size() < kScan) {
      for (const auto& member : frame.members) repeated = repeated || member.key == name;
    } else {
      if (frame.names.empty())
        for (const auto& member : frame.members) frame.names.insert(member.key);
      repeated = !frame.names.insert(name).second;
    }
    if (repeated) refuse("the key \"" + printable(name) + "\" occurs twice in one object");
    frame.members.push_back({std::move(name), Json()});
    return true;
  }
  bool end_object() { return add(close().members); }
  bool end_array() { return add(close().items); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) { refuse(reason_of(error)); }

 private:
  static constexpr size_t kScan = 16;  // members up to which a scan finds a repeated key
  struct Frame {
    bool object;
    Json::Object members;
    std::unordered_set<std::string> names;
    Json::Array items;
  };

  bool open(bool object) {
    if (static_cast<int>(stack_.size()) >= max_depth_) refuse("nested deeper than " + std::to_string(max_depth_) + " levels");
    stack_.push_back({object, {}, {}, {}});
    return true;
  }
  Frame close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    return frame;
  }
  bool add(Json value) {
    if (stack_.empty())
      root_ = std::move(value);
    else if (stack_.back().object)
      stack_.back().members.back().value = std::move(value);
    else
      stack_.back().items.push_back(std::move(value));
    return true;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    int64_t line = 1;
    for (const char* p = text_.data(); p < seen_ && p < text_.data() + text_.size(); ++p) line += *p == '\n';
    if (seen_ > text_.data() && seen_[-1] == '\n') --line;  // the lexer has read one character on
    fail_usage("json", source_ + ":" + std::to_string(std::max<int64_t>(1, line)) + ": " + what);
  }

  std::string_view text_;
  const std::string& source_;
  int max_depth_;
  const char* seen_ = nullptr;
  std::vector<Frame> stack_;
  Json root_;
};

}  // namespace

Json::Json(std::string_view text) : kind_(Kind::kString) { value_.text = new std::string(text); }
Json::Json(const std::string& text) : Json(std::string_view(text)) {}
Json::Json(const char* text) : Json(std::string_view(text)) {}
Json::Json(std::string&& text) : kind_(Kind::kString) { value_.text = new std::string(std::move(text)); }
Json::Json(Array items) : kind_(Kind::kArray) { value_.items = new Array(std::move(items)); }
Json::Json(Object members) : kind_(Kind::kObject) { value_.members = new Object(std::move(members)); }
Json::Json(std::initializer_list<Json> list) {
  const auto is_member = [](const Json& item) { return item.is_array() && item.size() == 2 && item.at(0).is_string(); };
  if (!std::all_of(list.begin(), list.end(), is_member)) {
    *this = Array(list);
    return;
  }
  *this = object();
  for (const Json& item : list) (*this)[item.at(0).text()] = item.at(1);
}
Json::Json(const Json& other) : kind_(other.kind_), value_(other.value_) {
  if (kind_ == Kind::kString) value_.text = new std::string(*other.value_.text);
  if (kind_ == Kind::kArray) value_.items = new Array(*other.value_.items);
  if (kind_ == Kind::kObject) value_.members = new Object(*other.value_.members);
}
Json& Json::operator=(Json other) noexcept {
  std::swap(kind_, other.kind_);
  std::swap(value_, other.value_);
  return *this;
}
Json Json::array(std::initializer_list<Json> items) { return Array(items); }
Json Json::object() { return Object(); }
Json::~Json() {
  if (kind_ == Kind::kString) delete value_.text;
  if (kind_ == Kind::kArray) delete value_.items;
  if (kind_ == Kind::kObject) delete value_.members;
}

bool Json::boolean() const {
  if (kind_ != Kind::kBoolean) refuse_kind("true or false", kind_);
  return value_.boolean;
}
double Json::real() const {
  if (kind_ != Kind::kReal) refuse_kind("a number", kind_);
  return value_.real;
}
const std::string& Json::text() const {
  if (kind_ != Kind::kString) refuse_kind("a string", kind_);
  return *value_.text;
}
const Json::Array& Json::items() const {
  static const Array none;
  if (kind_ == Kind::kNull) return none;
  if (kind_ != Kind::kArray) refuse_kind("an array", kind_);
  return *value_.items;
}
const Json::Object& Json::members() const {
  static const Object none;
  if (kind_ == Kind::kNull) return none;
  if (kind_ != Kind::kObject) refuse_kind("an object", kind_);
  return *value_.members;
}

const Json& Json::at(size_t index) const {
  if (index >= items().size())
    throw JsonError("item " + std::to_string(index) + " is expected of an array of " + std::to_string(items().size()));
  return items()[index];
}
void Json::push_back(Json item) {
  if (is_null()) *this = array();
  const_cast<Array&>(items()).push_back(std::move(item));
}

const Json* Json::find(std::string_view key) const noexcept {
  if (is_object())
    for (const Member& member : *value_.members)
      if (member.key == key) return &member.value;
  return nullptr;
}
const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  members();  // throws where it is no object
  throw JsonError("the key \"" + printable(key) + "\" is missing");
}
Json& Json::operator[](std::string_view key) {
  if (const Json* value = find(key)) return const_cast<Json&>(*value);
  if (is_null()) *this = object();
  members();  // throws where it is no object
  value_.members->push_back({std::string(key), Json()});
  return value_.members->back().value;
}
bool Json::erase(std::string_view key) {
  return !members().empty() && std::erase_if(*value_.members, [&](const Member& member) { return member.key == key; }) > 0;
}
void Json::update(const Json& other) {
  for (const auto& [key, value] : other.members()) (*this)[key] = value;
}
size_t Json::size() const noexcept {
  switch (kind_) {
    case Kind::kNull:
      return 0;
    case Kind::kArray:
      return value_.items->size();
    case Kind::kObject:
      return value_.members->size();
    default:
      return 1;
  }
}

std::string Json::dump(int indent, bool ascii) const {
  try {
    return library_value(*this).dump(indent, ' ', ascii);
  } catch (const nlohmann::detail::exception& error) {
    throw JsonError(reason_of(error));
  }
}

std::partial_ordering operator<=>(const Json& a, const Json& b) {
  if (!a.is_number() || !b.is_number()) return std::partial_ordering::unordered;
  if (a.kind_ == Json::Kind::kReal || b.kind_ == Json::Kind::kReal) return a.get<double>() <=> b.get<double>();
  const auto negative = [](const Json& j) { return j.kind_ == Json::Kind::kInteger && j.value_.integer < 0; };
  if (negative(a) || negative(b))
    return negative(a) && negative(b) ? a.value_.integer <=> b.value_.integer : negative(b) <=> negative(a);
  return a.value_.natural <=> b.value_.natural;
}
bool operator==(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a <=> b == 0;
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Json::Kind::kBoolean:
      return a.value_.boolean == b.value_.boolean;
    case Json::Kind::kString:
      return *a.value_.text == *b.value_.text;
    case Json::Kind::kArray:
      return *a.value_.items == *b.value_.items;
    case Json::Kind::kObject:
      return *a.value_.members == *b.value_.members;
    default:
      return true;  // null
  }
}
std::ostream& operator<<(std::ostream& out, const Json& json) { return out << json.dump(); }

Json parse_json(std::string_view text, const std::string& source, int max_depth) {
  if (text.empty()) fail_usage("json", source + ":1: empty; a JSON value is expected");
  return Builder(text, source, max_depth).parse();
}
Json read_json_file(const std::string& path) { return parse_json(read_file(path), path); }

}  // namespace fathom
