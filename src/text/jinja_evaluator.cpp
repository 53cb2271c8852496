#include "text/jinja_evaluator.h"

#include <algorithm>

#include "text/jinja_objects.h"

namespace fathom::jinja {

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->outer)
    for (const auto& [key, value] : scope->names)
      if (key == name) return &value;
  return nullptr;
}
void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names)
    if (key == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

struct Evaluator::Inner {
  Inner(Evaluator& evaluator, Scope* outer) : evaluator(evaluator), before(evaluator.scope_) {
    evaluator.scopes_.push_back(std::make_unique<Scope>());
    evaluator.scope_ = evaluator.scopes_.back().get();
    evaluator.scope_->outer = outer;
  }
  ~Inner() {
    Scope* const mine = evaluator.scope_;
    evaluator.scope_ = before;
    if (!mine->pinned && evaluator.scopes_.back().get() == mine) evaluator.scopes_.pop_back();
  }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;
  Evaluator& evaluator;
  Scope* before;
};

struct Evaluator::Redirect {
  explicit Redirect(Evaluator& evaluator) : evaluator(evaluator), before(evaluator.out_) { evaluator.out_ = &text; }
  ~Redirect() { evaluator.out_ = before; }
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;
  Text text;
  Evaluator& evaluator;
  Text* before;
};

Evaluator::Evaluator(const RenderOptions& options) : options_(options) {}
Evaluator::~Evaluator() {
  for (const auto& object : namespaces_) static_cast<Namespace&>(*object).names.clear();
}

void Evaluator::refuse_steps() const {
  refuse("the template does more than " + std::to_string(options_.max_steps) + " steps; it was stopped");
}

Text Evaluator::render(const Body& body, const Dict& context) {
  const Inner globals(*this, nullptr);
  for (const auto& [key, value] : context.items)
    if (key.text()) scope_->names.emplace_back(key.text()->bytes(), value);
  const Inner top(*this, scope_);
  run(body);
  return std::move(output_);
}

Evaluator::Flow Evaluator::run(const Body& body) {
  for (const NodePtr& node : body)
    if (const Flow flow = run(*node); flow != Flow::kNext) return flow;
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run(const Node& node) {
  at(node);
  step(1);
  switch (node.kind) {
    case Node::kData:
      charge(node.value.text()->size());
      out_->append(*node.value.text());
      return Flow::kNext;
    case Node::kOutput: {
      const Value value = evaluate(*node.children[0]);
      at(node);
      const Text text = str(value);
      charge(text.size());
      out_->append(text);
      return Flow::kNext;
    }
    case Node::kIf:
      return run_if(node);
    case Node::kFor:
      return run_for(node, scope_, evaluate(*node.children[1]), 1);
    case Node::kSet:
      assign(*node.children[0], evaluate(*node.children[1]));
      return Flow::kNext;
    case Node::kSetBlock: {
      Value value(captured(node.bodies[0]));
      if (node.children[1]) value = filtered(*node.children[1], &value);
      assign(*node.children[0], std::move(value));
      return Flow::kNext;
    }
    case Node::kMacro:
      define_macro(node);
      return Flow::kNext;
    case Node::kCallBlock:
      run_call_block(node);
      return Flow::kNext;
    case Node::kFilterBlock: {
      const Value inside(captured(node.bodies[0]));
      const Text text = str(filtered(*node.children[0], &inside));
      charge(text.size());
      out_->append(text);
      return Flow::kNext;
    }
    case Node::kWith: {
      std::vector<Value> values;
      for (size_t i = 1; i < node.children.size(); i += 2) values.push_back(evaluate(*node.children[i]));
      const Inner inner(*this, scope_);
      for (size_t i = 0; i < values.size(); ++i) assign(*node.children[2 * i], std::move(values[i]));
      return run(node.bodies[0]);
    }
    case Node::kScope: {
      const Inner inner(*this, scope_);
      return run(node.bodies[0]);
    }
    case Node::kGroup:
      return run(node.bodies[0]);
    case Node::kBreak:
      return Flow::kBreak;
    case Node::kContinue:
      return Flow::kContinue;
    default:
      refuse("an expression stands where a statement is expected");
  }
}

Evaluator::Flow Evaluator::run_if(const Node& node) {
  for (size_t i = 0; i < node.children.size(); ++i)
    if (evaluate(*node.children[i]).truth()) return run(node.bodies[i]);
  if (node.bodies.size() > node.children.size()) return run(node.bodies.back());
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run_for(const Node& node, Scope* scope, const Value& iterable, int depth) {
  at(node);
  std::vector<Value> items = iterate(iterable);
  step(static_cast<int64_t>(items.size()));
  const Node* condition = node.children[2].get();
  if (condition) {
    std::vector<Value> kept;
    for (Value& item : items) {
      const Inner inner(*this, scope);
      assign(*node.children[0], item);
      if (evaluate(*condition).truth()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    const Inner inner(*this, scope);
    run(node.bodies[1]);
    return Flow::kNext;
  }
  const auto loop = std::make_shared<Loop>();
  loop->items = std::move(items);
  loop->node = node.flag ? &node : nullptr;
  loop->scope = scope;
  loop->depth = depth;
  struct Release {  // what loop.changed remembers may be the loop itself
    Loop& loop;
    ~Release() { loop.changed.clear(); }
  } release{*loop};
  for (size_t i = 0; i < loop->items.size(); ++i) {
    loop->index = i;
    const Inner inner(*this, scope);
    scope_->set("loop", Value(std::shared_ptr<Object>(loop)));
    assign(*node.children[0], loop->items[i]);
    step(1);
    if (run(node.bodies[0]) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Value Evaluator::run_loop(const Node& loop, Scope* scope, const Value& iterable, int depth) {
  if (++calls_ > kMaxCalls) refuse("loops call themselves too deeply");
  const Redirect redirect(*this);
  run_for(loop, scope, iterable, depth);
  --calls_;
  return charged(Value(redirect.text));
}

void Evaluator::assign(const Node& target, Value value) {
  if (target.kind == Node::kName) return scope_->set(target.name, std::move(value));
  at(target);
  if (target.kind == Node::kAttribute) {
    const std::string& name = target.children[0]->name;
    const Value* object = scope_->find(name);
    auto* names = object && object->object() ? dynamic_cast<Namespace*>(object->object()->get()) : nullptr;
    if (!names) refuse("only a namespace can have attributes set, and '" + name + "' is none");
    names->set(target.name, std::move(value));
    return;
  }
  std::vector<Value> items = iterate(value);
  const size_t wanted = target.children.size();
  if (items.size() != wanted)
    refuse((items.size() > wanted ? "too many values to unpack (expected " : "not enough values to unpack (expected ") +
           std::to_string(wanted) + ", got " + std::to_string(items.size()) + ")");
  for (size_t i = 0; i < wanted; ++i) assign(*target.children[i], std::move(items[i]));
}

Text Evaluator::captured(const Body& body) {
  Redirect redirect(*this);
  const Inner inner(*this, scope_);
  run(body);
  return std::move(redirect.text);
}

void Evaluator::define_macro(const Node& node) {
  scope_->pinned = true;
  scope_->set(node.name, Value(std::shared_ptr<Object>(std::make_shared<Macro>(node, scope_))));
}

void Evaluator::run_call_block(const Node& node) {
  scope_->pinned = true;
  const Value caller(std::shared_ptr<Object>(std::make_shared<Macro>(node, scope_)));
  const Text text = str(evaluate_call(*node.children[0], &caller));
  charge(text.size());
  out_->append(text);
}

Value Evaluator::call_macro(const Node& macro, Scope* scope, const Arguments& arguments) {
  if (++calls_ > kMaxCalls) refuse("macros call themselves too deeply");
  step(1);
  const std::string name = macro.kind == Node::kMacro ? macro.name : "caller";
  Redirect redirect(*this);
  const Inner inner(*this, scope);
  const auto& parameters = macro.named;
  std::vector<Value> rest, given(arguments.positional);
  if (given.size() > parameters.size()) {
    rest.assign(given.begin() + static_cast<std::ptrdiff_t>(parameters.size()), given.end());
    given.resize(parameters.size());
  }
  const auto extra = std::make_shared<Dict>();
  std::vector<const Value*> by_name(parameters.size(), nullptr);
  for (const auto& [key, value] : arguments.named) {
    const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.first == key; });
    const auto i = static_cast<size_t>(found - parameters.begin());
    if (found == parameters.end()) {
      if (key == "caller")
        scope_->set(key, value);
      else
        extra->set(Value(key), value);
    } else if (i < given.size() || by_name[i]) {
      refuse("macro '" + name + "' got two values for the argument '" + key + "'");
    } else {
      by_name[i] = &value;
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [key, fallback] = parameters[i];
    if (i < given.size())
      scope_->set(key, given[i]);
    else if (by_name[i])
      scope_->set(key, *by_name[i]);
    else
      scope_->set(key, fallback ? evaluate(*fallback) : Value::undefined("parameter '" + key + "' was not provided"));
  }
  const auto uses = [&](const char* what) { return uses_name(macro, what); };
  if (!rest.empty() && !uses("varargs"))
    refuse("macro '" + name + "' takes not more than " + std::to_string(parameters.size()) + " argument(s)");
  if (!extra->items.empty() && !uses("kwargs"))
    refuse("macro '" + name + "' takes no keyword argument '" + extra->items[0].first.text()->bytes() + "'");
  if (uses("varargs")) scope_->set("varargs", make_list(std::move(rest), List::kTuple));
  if (uses("kwargs")) scope_->set("kwargs", Value(extra));
  run(macro.bodies[0]);
  --calls_;
  return charged(Value(std::move(redirect.text)));
}

}  // namespace fathom::jinja
