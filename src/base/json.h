// JSON: a value that is cheap to include, read and written by nlohmann's parser and serialiser, which json.cpp alone sees.
// Include only from .cpp files.
#pragma once
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fathom {

// A value was used as what it is not, or is not there. Where it came from outside, the reader checks or catches and names it.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class T>
concept JsonNumber = std::is_arithmetic_v<T>;

// A JSON value; the members of an object stay in the order in which they were written. Numbers keep how they were read: a
// whole number without sign is kUnsigned, one with a sign kInteger, any other kReal.
class Json {
 public:
  enum class Kind : uint8_t { kNull, kBoolean, kInteger, kUnsigned, kReal, kString, kArray, kObject };
  struct Member;
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;  // distinct keys

  Json() noexcept = default;  // null
  Json(std::nullptr_t) noexcept {}
  Json(std::string_view text);
  Json(const std::string& text);
  Json(std::string&& text);
  Json(const char* text);
  Json(Array items);
  Json(Object members);
  // {{"key", value}, …} with nothing but pairs led by a string is an object, any other list an array.
  Json(std::initializer_list<Json> list);
  template <JsonNumber T>
  Json(T value) noexcept {
    if constexpr (std::is_same_v<T, bool>) {
      kind_ = Kind::kBoolean, value_.boolean = value;
    } else if constexpr (std::is_floating_point_v<T>) {
      kind_ = Kind::kReal, value_.real = static_cast<double>(value);
    } else if constexpr (std::is_signed_v<T>) {
      kind_ = Kind::kInteger, value_.integer = value;
    } else {
      kind_ = Kind::kUnsigned, value_.natural = value;
    }
  }
  template <class T>
  Json(const std::vector<T>& items) : Json(Array(items.begin(), items.end())) {}
  template <class T, size_t N>
  Json(const std::array<T, N>& items) : Json(Array(items.begin(), items.end())) {}
  Json(const Json& other);
  Json(Json&& other) noexcept : kind_(other.kind_), value_(other.value_) { other.kind_ = Kind::kNull; }
  Json& operator=(Json other) noexcept;
  ~Json();
  static Json array(std::initializer_list<Json> items = {});
  static Json object();

  Kind kind() const noexcept { return kind_; }
  bool is_null() const noexcept { return kind_ == Kind::kNull; }
  bool is_boolean() const noexcept { return kind_ == Kind::kBoolean; }
  bool is_number() const noexcept { return is_number_integer() || kind_ == Kind::kReal; }
  bool is_number_integer() const noexcept { return kind_ == Kind::kInteger || kind_ == Kind::kUnsigned; }
  bool is_number_unsigned() const noexcept { return kind_ == Kind::kUnsigned; }
  bool is_string() const noexcept { return kind_ == Kind::kString; }
  bool is_array() const noexcept { return kind_ == Kind::kArray; }
  bool is_object() const noexcept { return kind_ == Kind::kObject; }

  // The value as T: bool, an arithmetic type (converted as C++ does), std::string, or a vector of those. Throws JsonError.
  template <class T>
  T get() const {
    if constexpr (std::is_same_v<T, bool>) {
      return boolean();
    } else if constexpr (std::is_arithmetic_v<T>) {
      if (kind_ == Kind::kInteger) return static_cast<T>(value_.integer);
      if (kind_ == Kind::kUnsigned) return static_cast<T>(value_.natural);
      return static_cast<T>(real());
    } else if constexpr (std::is_same_v<T, std::string>) {
      return text();
    } else {
      T items;
      for (const Json& item : *this) items.push_back(item.get<typename T::value_type>());
      return items;
    }
  }
  const std::string& text() const;  // of a string; throws JsonError

  // Arrays: null counts as an empty one; everything else throws JsonError, as does an index behind the end.
  const Json* begin() const { return items().data(); }
  const Json* end() const { return begin() + items().size(); }
  Json* begin() { return const_cast<Json*>(static_cast<const Json*>(this)->begin()); }
  Json* end() { return const_cast<Json*>(static_cast<const Json*>(this)->end()); }
  const Json& at(size_t index) const;
  const Json& operator[](size_t index) const { return at(index); }
  Json& operator[](size_t index) { return const_cast<Json&>(at(index)); }
  const Json& front() const { return at(0); }
  const Json& back() const { return at(size() - 1); }
  Json& back() { return const_cast<Json&>(at(size() - 1)); }
  void push_back(Json item);  // null becomes an array

  // Objects: null counts as an empty one; everything else throws JsonError.
  const Object& members() const;
  const Json* find(std::string_view key) const noexcept;  // nullptr: not there, or no object
  bool contains(std::string_view key) const noexcept { return find(key); }
  const Json& at(std::string_view key) const;  // throws JsonError if not there
  Json& at(std::string_view key) { return const_cast<Json&>(static_cast<const Json*>(this)->at(key)); }
  const Json& operator[](std::string_view key) const { return at(key); }
  Json& operator[](std::string_view key);  // makes it, null, if not there
  template <class T>
  T value(std::string_view key, T otherwise) const {
    const Json* found = find(key);
    return found ? found->get<T>() : otherwise;
  }
  std::string value(std::string_view key, const char* otherwise) const { return value(key, std::string(otherwise)); }
  bool erase(std::string_view key);
  void update(const Json& other);  // sets every member of `other`

  size_t size() const noexcept;  // items or members; 0 of null and 1 of any other value
  bool empty() const noexcept { return size() == 0; }

  // Text: indent < 0 on one line; `ascii` writes every other character as \uXXXX. Not-a-number and infinity are written as
  // null. Throws JsonError on a string that is no UTF-8.
  std::string dump(int indent = -1, bool ascii = false) const;

  // Numbers by value, whatever their kinds. Nothing but numbers has an order.
  friend bool operator==(const Json& a, const Json& b);
  friend std::partial_ordering operator<=>(const Json& a, const Json& b);

 private:
  bool boolean() const;
  double real() const;
  const Array& items() const;

  Kind kind_ = Kind::kNull;
  union {
    bool boolean;
    int64_t integer;
    uint64_t natural;
    double real;
    std::string* text;  // owned, as the two below
    Array* items;
    Object* members;
  } value_ = {};
};
struct Json::Member {
  std::string key;
  Json value;
  friend bool operator==(const Member&, const Member&) = default;
};
std::ostream& operator<<(std::ostream& out, const Json& json);

// Of text from outside: limits on size and depth, no key twice, valid UTF-8. Throws Error (usage) that names `source`, the
// line and the reason.
Json parse_json(std::string_view text, const std::string& source, int max_depth = 64);
Json read_json_file(const std::string& path);

}  // namespace fathom
