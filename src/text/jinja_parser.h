// From tokens to the tree. Nesting is bounded, so that neither parsing nor evaluation can overflow the stack.
#pragma once
#include <string_view>

#include "text/jinja_node.h"

namespace fathom::jinja {

Body parse_template(std::string_view source);  // throws SyntaxError

}  // namespace fathom::jinja
