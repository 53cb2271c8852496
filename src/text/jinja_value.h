// Values of the template interpreter, with Python's rules for truth, equality, order and printing.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja_text.h"

namespace fathom::jinja {

// What a template did wrong; the line is added where rendering was called.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
[[noreturn]] inline void refuse(const std::string& what) { throw TemplateError(what); }

class Evaluator;
class Value;
using Int = __int128;  // every number of JSON fits; overflow is an error
struct Undefined {
  std::shared_ptr<const std::string> why;  // the message of whoever uses it
};
struct None {};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// What has attributes or can be called: namespaces, macros, loop, bound methods, functions of the environment.
class Object {
 public:
  virtual ~Object() = default;
  virtual const char* type_name() const = 0;
  virtual std::optional<Value> attribute(const std::string& name) const;
  virtual Value call(Evaluator& evaluator, const Arguments& arguments);
  virtual bool callable() const { return false; }
};

struct List;
struct Dict;

class Value {
 public:
  Value() = default;  // undefined, without a reason
  Value(None) : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(Int i) : data_(i) {}
  Value(int i) : data_(Int{i}) {}
  Value(size_t i) : data_(static_cast<Int>(i)) {}
  Value(double d) : data_(d) {}
  Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string text) : Value(Text(std::move(text))) {}
  Value(const char*) = delete;
  Value(std::shared_ptr<List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}
  static Value undefined(std::string why);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const Int* integer() const { return std::get_if<Int>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const Text* text() const {
    const auto* p = std::get_if<std::shared_ptr<const Text>>(&data_);
    return p ? p->get() : nullptr;
  }
  const std::shared_ptr<List>* list() const { return std::get_if<std::shared_ptr<List>>(&data_); }
  const std::shared_ptr<Dict>* dict() const { return std::get_if<std::shared_ptr<Dict>>(&data_); }
  const std::shared_ptr<Object>* object() const { return std::get_if<std::shared_ptr<Object>>(&data_); }
  bool is_number() const { return boolean() || integer() || real(); }

  bool truth() const;
  const char* type_name() const;  // Python's: str, int, NoneType, …
  std::string described() const;  // as jinja2 names it in errors: "list object", "None"
  std::string why_undefined() const;
  std::optional<Int> as_integer() const;  // of int and bool
  double as_real() const;                 // of a number
  // The same object in memory (Python's `is`).
  bool same(const Value& other) const;

 private:
  std::variant<Undefined, None, bool, Int, double, std::shared_ptr<const Text>, std::shared_ptr<List>, std::shared_ptr<Dict>,
               std::shared_ptr<Object>>
      data_;
};

struct List {
  // What Python would have there; all of them can be iterated.
  enum Kind { kList, kTuple, kRange, kGenerator, kItems, kKeys, kValues } kind = kList;
  std::vector<Value> items;
  bool consumed = false;  // a generator gives its items once
  std::string printed;    // of a range
};
Value make_list(std::vector<Value> items, List::Kind kind = List::kList);

// In order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, size_t> index;  // by key_of
  const Value* find(const Value& key) const;
  const Value* find_text(std::string_view key) const;
  void set(const Value& key, Value value);
  static std::string key_of(const Value& key);  // error where a key cannot be hashed
};

bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);  // error where Python cannot compare them
std::string to_string(Int i);
std::string to_string(double d);  // Python's repr: the shortest that reads back
void write_str(const Value& value, Text& out);
void write_repr(const Value& value, Text& out, int depth = 0);
Text str(const Value& value);
// The items of anything that can be iterated: characters, keys, items. A generator is emptied. Error otherwise.
std::vector<Value> iterate(const Value& value);
bool contains(const Value& container, const Value& item);
std::optional<size_t> length(const Value& value);

}  // namespace fathom::jinja
