// Objects of the template language that have a state: namespace, loop, macro, bound method, function, cycler, joiner.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_evaluator.h"

namespace fathom::jinja {

struct Namespace : Object {
  std::vector<std::pair<std::string, Value>> names;
  const char* type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(const std::string& name) const override;
  void set(const std::string& name, Value value);
};

struct Loop : Object, std::enable_shared_from_this<Loop> {
  std::vector<Value> items;
  size_t index = 0;
  const Node* node = nullptr;  // of a recursive loop
  Scope* scope = nullptr;
  int depth = 1;
  std::vector<Value> changed;  // what loop.changed() saw last
  bool seen = false;
  const char* type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(const std::string& name) const override;
  Value call(Evaluator& evaluator, const Arguments& arguments) override;
  bool callable() const override { return node != nullptr; }
};

struct Macro : Object {
  Macro(const Node& node, Scope* scope) : node(node), scope(scope) {}
  const Node& node;
  Scope* scope;  // kept by the evaluator
  const char* type_name() const override { return "Macro"; }
  std::optional<Value> attribute(const std::string& name) const override;
  Value call(Evaluator& evaluator, const Arguments& arguments) override { return evaluator.call_macro(node, scope, arguments); }
  bool callable() const override { return true; }
};

struct Method : Object {
  Method(Value self, std::string name) : self(std::move(self)), name(std::move(name)) {}
  Value self;
  std::string name;
  const char* type_name() const override { return "builtin_function_or_method"; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override {
    return call_method(evaluator, self, name, arguments);
  }
  bool callable() const override { return true; }
};

struct Function : Object {
  using Body = std::function<Value(Evaluator&, const Arguments&)>;
  explicit Function(Body body) : body(std::move(body)) {}
  Body body;
  const char* type_name() const override { return "function"; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override { return body(evaluator, arguments); }
  bool callable() const override { return true; }
};

// Whether the body of a macro names `name`.
bool uses_name(const Node& node, const std::string& name);

}  // namespace fathom::jinja
