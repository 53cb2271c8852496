// A template's source as tokens, with white space cut as transformers sets it: trim_blocks and lstrip_blocks.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fathom::jinja {

struct Token {
  enum Kind {
    kData,
    kBlockBegin,
    kBlockEnd,
    kVariableBegin,
    kVariableEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  } kind;
  std::string text;  // of a string: what it means, escapes resolved
  int line;
};
std::vector<Token> tokenize(std::string_view source);  // Error where the source is no template; the source is UTF-8

// A template that cannot be read: the line and why.
struct SyntaxError {
  int line;
  std::string what;
};
[[noreturn]] inline void syntax_error(int line, std::string what) { throw SyntaxError{line, std::move(what)}; }

}  // namespace fathom::jinja
