// The arguments of a filter, test, method or function by the names of its parameters.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace fathom::jinja {

class Bound {
 public:
  // Error where there are more than `parameters`, an unknown name, or one is given twice. What is missing is null.
  Bound(const std::string& function, const Arguments& arguments, std::initializer_list<const char*> parameters);
  const Value* operator[](size_t i) const { return values_[i]; }
  bool has(size_t i) const { return values_[i] && !values_[i]->is_none(); }
  const Value& required(size_t i) const;
  bool truth(size_t i, bool fallback) const { return values_[i] ? values_[i]->truth() : fallback; }
  int64_t integer(size_t i, int64_t fallback) const;  // none too gives the fallback
  const Text& text(size_t i) const;                   // required
  std::string text_or(size_t i, const std::string& fallback) const;

 private:
  std::string function_;
  std::vector<const char*> names_;
  std::vector<const Value*> values_;
};

}  // namespace fathom::jinja
