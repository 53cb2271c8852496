// Typed access to the fields of a config.json object: what is missing or of another type is an Error that names it.
#pragma once
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace fathom {

class Fields {
 public:
  Fields(const Json& json, const std::string& source, std::string prefix = "")
      : json_(json), source_(source), prefix_(std::move(prefix)) {}

  // null counts as absent, as in the published files (q_lora_rank: null).
  const Json* find(const char* name) const {
    const Json* value = json_.find(name);
    return value && !value->is_null() ? value : nullptr;
  }
  [[noreturn]] void bad(const std::string& name, const std::string& what) const {
    fail_usage("model", source_ + ": " + prefix_ + name + ": " + what);
  }

  void integer(const char* name, int64_t& value, bool required = false) const {
    const Json* v = get(name, required, &Json::is_number_integer, "a whole number");
    if (!v) return;
    if (v->is_number_unsigned() && v->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      bad(name, "is too large: " + shorten(*v));
    value = v->get<int64_t>();
  }
  void token(const char* name, int32_t& value) const {
    int64_t id = value;
    integer(name, id);
    value = to_token(name, id);
  }
  int32_t to_token(const char* name, int64_t id) const {
    if (id < -1 || id > std::numeric_limits<int32_t>::max()) bad(name, "is no token id: " + std::to_string(id));
    return static_cast<int32_t>(id);
  }
  void number(const char* name, double& value, bool required = false) const {
    const Json* v = get(name, required, &Json::is_number, "a number");
    if (!v) return;
    value = v->get<double>();
    if (!std::isfinite(value)) bad(name, "must be a finite number");
  }
  void boolean(const char* name, bool& value) const {
    if (const Json* v = get(name, false, &Json::is_boolean, "true or false")) value = v->get<bool>();
  }
  void text(const char* name, std::string& value, bool required = false) const {
    if (const Json* v = get(name, required, &Json::is_string, "a string")) value = v->get<std::string>();
  }
  const Json* object(const char* name) const { return get(name, false, &Json::is_object, "an object or null"); }
  const Json* array(const char* name) const { return get(name, false, &Json::is_array, "a list"); }
  static std::string shorten(const Json& v) {
    std::string s = v.dump();
    return s.size() <= 40 ? s : s.substr(0, 37) + "...";
  }

 private:
  // The value, of the type that `is` tells; null where there is none.
  const Json* get(const char* name, bool required, bool (Json::*is)() const noexcept, const char* type) const {
    const Json* v = find(name);
    if (!v && required) bad(name, "is missing");
    if (v && !(v->*is)()) bad(name, "must be " + std::string(type) + ", is " + shorten(*v));
    return v;
  }
  const Json& json_;
  const std::string& source_;
  std::string prefix_;
};

}  // namespace fathom
