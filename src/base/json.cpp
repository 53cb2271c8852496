#include "base/json.h"

#include <cstring>
#include <iterator>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace fathom {
namespace {

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
    Json::sax_parse(Cursor(text_.data(), &seen_), Cursor(end, &seen_), this);
    return std::move(root_);
  }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string& written) {
    if (written.find_first_of(".eE") == std::string::npos)
      refuse("the integer " + printable(written, 40) + " does not fit in 64 bits");
    return add(value);
  }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { refuse("binary data"); }
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }
  bool key(std::string& name) {
    Frame& frame = stack_.back();
    bool repeated = false;
    if (frame.members.size() < kScan) {
      for (const auto& member : frame.members) repeated = repeated || member.first == name;
    } else {
      if (frame.names.empty())
        for (const auto& member : frame.members) frame.names.insert(member.first);
      repeated = !frame.names.insert(name).second;
    }
    if (repeated) refuse("the key \"" + printable(name) + "\" occurs twice in one object");
    frame.members.emplace_back(std::move(name), Json());
    return true;
  }
  bool end_object() {
    Frame frame = close();
    Json value = Json::object();
    auto& object = value.get_ref<Json::object_t&>();
    object.reserve(frame.members.size());
    for (auto& [name, member] : frame.members) object.emplace_back(std::move(name), std::move(member));
    return add(std::move(value));
  }
  bool end_array() {
    Frame frame = close();
    return add(Json(std::move(frame.items)));
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    // "[json.exception…] parse error at line 1, column 2: what": ours names source and line itself.
    std::string what = error.what();
    if (const size_t at = what.find("column "); at != std::string::npos)
      if (const size_t colon = what.find(": ", at); colon != std::string::npos) what = what.substr(colon + 2);
    if (what.rfind("[json", 0) == 0)
      if (const size_t bracket = what.find("] "); bracket != std::string::npos) what = what.substr(bracket + 2);
    refuse(printable(what, 200));
  }

 private:
  static constexpr size_t kScan = 16;  // members up to which a scan finds a repeated key
  struct Frame {
    bool object;
    std::vector<std::pair<std::string, Json>> members;
    std::unordered_set<std::string> names;
    Json::array_t items;
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
  template <class T>
  bool add(T&& value) {
    if (stack_.empty())
      root_ = Json(std::forward<T>(value));
    else if (stack_.back().object)
      stack_.back().members.back().second = Json(std::forward<T>(value));
    else
      stack_.back().items.emplace_back(std::forward<T>(value));
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

Json parse_json(std::string_view text, const std::string& source, int max_depth) {
  if (text.empty()) fail_usage("json", source + ":1: empty; a JSON value is expected");
  return Builder(text, source, max_depth).parse();
}
Json read_json_file(const std::string& path) { return parse_json(read_file(path), path); }

}  // namespace fathom
