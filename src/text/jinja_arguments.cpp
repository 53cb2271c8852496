#include "text/jinja_arguments.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace fathom::jinja {

Bound::Bound(const std::string& function, const Arguments& arguments, std::initializer_list<const char*> parameters)
    : function_(function), names_(parameters), values_(parameters.size()) {
  if (arguments.positional.size() > names_.size())
    refuse(function_ + "() takes " + std::to_string(names_.size()) + " arguments but " +
           std::to_string(arguments.positional.size()) + " were given");
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find_if(names_.begin(), names_.end(), [&](const char* n) { return name == n; });
    if (found == names_.end()) refuse(function_ + "() got an unexpected keyword argument '" + name + "'");
    const Value*& slot = values_[static_cast<size_t>(found - names_.begin())];
    if (slot) refuse(function_ + "() got multiple values for argument '" + name + "'");
    slot = &value;
  }
}

const Value& Bound::required(size_t i) const {
  if (!values_[i]) refuse(function_ + "() missing 1 required argument: '" + names_[i] + "'");
  return *values_[i];
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  if (values_[i]->is_undefined()) refuse(values_[i]->why_undefined());
  const auto value = values_[i]->as_integer();
  if (!value) refuse(function_ + "(): " + names_[i] + " must be an integer, not " + values_[i]->type_name());
  const Int limit = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp(*value, -limit, limit));
}

const Text& Bound::text(size_t i) const {
  const Value& value = required(i);
  if (value.is_undefined()) refuse(value.why_undefined());
  if (!value.text()) refuse(function_ + "(): " + names_[i] + " must be str, not " + value.type_name());
  return *value.text();
}
std::string Bound::text_or(size_t i, const std::string& fallback) const { return has(i) ? text(i).bytes() : fallback; }

}  // namespace fathom::jinja
