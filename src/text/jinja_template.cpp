#include "text/jinja_template.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"

namespace fathom::jinja {
namespace {

constexpr size_t kMaxSource = 1 << 20;

[[noreturn]] void fail_at(const std::string& name, int line, const std::string& what) {
  fail_usage("chat template", name + ", line " + std::to_string(line) + ": " + printable(what, 2000));
}

}  // namespace

Template::Template(const std::string& source, std::string name) : name_(std::move(name)) {
  if (source.size() > kMaxSource) fail_usage("chat template", name_ + ": longer than " + std::to_string(kMaxSource) + " bytes");
  if (const int64_t bad = first_invalid_utf8(source); bad >= 0)
    fail_usage("chat template", name_ + ": not UTF-8 at byte " + std::to_string(bad));
  try {
    body_ = std::make_shared<const Body>(parse_template(source));
  } catch (const SyntaxError& error) {
    fail_at(name_, error.line, error.what);
  }
}

Text Template::render(const Dict& context, const RenderOptions& options) const {
  Evaluator evaluator(options);
  try {
    return evaluator.render(*body_, context);
  } catch (const TemplateError& error) {
    fail_at(name_, evaluator.line(), error.what());
  }
}

}  // namespace fathom::jinja
