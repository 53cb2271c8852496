// A Jinja template as published models have it: parsed once, rendered often.
#pragma once
#include <memory>
#include <string>

#include "text/jinja_evaluator.h"

namespace fathom::jinja {

class Template {
 public:
  // `name` stands in errors. Error (usage) with line and reason where the source is no template.
  Template(const std::string& source, std::string name);
  // Error (usage) with line and reason; what raise_exception says is the reason.
  Text render(const Dict& context, const RenderOptions& options) const;

 private:
  std::shared_ptr<const Body> body_;
  std::string name_;
};

}  // namespace fathom::jinja
