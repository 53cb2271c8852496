// Values to JSON as Python's json.dumps writes it, and JSON to values.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_evaluator.h"

namespace fathom::jinja {

struct JsonStyle {
  std::optional<Text> indent;  // none: one line
  Text item_separator{", "}, key_separator{": "};
  bool ensure_ascii = false, sort_keys = false;
};
Text to_json(Evaluator& evaluator, const Value& value, const JsonStyle& style);

// All of its texts carry `mark`. Error (usage) naming `source` where it is not JSON.
Value value_of_json(std::string_view json, const std::string& source, Mark mark);

}  // namespace fathom::jinja
