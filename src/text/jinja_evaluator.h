// Runs a parsed template. Sandboxed: it sees nothing but the context, data cannot be changed, work and nesting are bounded.
#pragma once
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "text/jinja_node.h"
#include "text/jinja_value.h"

namespace fathom::jinja {

struct RenderOptions {
  std::tm now{};                   // for strftime_now
  int64_t max_steps = 20'000'000;  // nodes evaluated, and 64 bytes of text made count as one
};

struct Scope {
  Scope* outer = nullptr;
  std::vector<std::pair<std::string, Value>> names;
  bool pinned = false;  // a macro may still look here
  const Value* find(const std::string& name) const;
  void set(const std::string& name, Value value);
};

class Evaluator {
 public:
  explicit Evaluator(const RenderOptions& options);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  Text render(const Body& body, const Dict& context);
  int line() const { return line_; }  // where it was when an error was thrown

  // For filters and functions.
  void charge(size_t bytes) { step(1 + static_cast<int64_t>(bytes / 64)); }
  Value charged(Value value);  // a value just made: its size counts
  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value path(const Value& object, const Value& path);             // "a.b.0", as attribute= of filters has it
  Value call_macro(const Node& macro, Scope* scope, const Arguments& arguments);
  Value run_loop(const Node& loop, Scope* scope, const Value& iterable, int depth);
  Value make_namespace(const Arguments& arguments);
  const std::tm& now() const { return options_.now; }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  static constexpr int kMaxCalls = 60;  // macros and recursive loops inside each other
  struct Inner;                         // a scope while it lasts
  struct Redirect;                      // output into a text of its own

  void step(int64_t n) {
    if ((steps_ += n) > options_.max_steps) refuse_steps();
  }
  [[noreturn]] void refuse_steps() const;
  void at(const Node& node) { line_ = node.line; }

  Flow run(const Body& body);
  Flow run(const Node& node);
  Flow run_if(const Node& node);
  Flow run_for(const Node& node, Scope* scope, const Value& iterable, int depth);
  void assign(const Node& target, Value value);
  void define_macro(const Node& node);
  void run_call_block(const Node& node);
  Text captured(const Body& body);

  Value evaluate(const Node& node);
  Value binary(const Node& node);
  Value compare(const Node& node);
  Value slice(const Node& node);
  Value evaluate_call(const Node& node, const Value* caller = nullptr);
  Value filtered(const Node& node, const Value* block);
  Arguments arguments(const Node& node);

  const RenderOptions options_;
  int64_t steps_ = 0;
  int line_ = 1, calls_ = 0;
  Text output_;
  Text* out_ = &output_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  Scope* scope_ = nullptr;
  std::vector<std::shared_ptr<Object>> namespaces_;  // may refer to themselves; emptied at the end
};

// raise_exception, range, namespace, …
const Value* find_global(const std::string& name);
// Does str, list or dict have this method; calls it.
bool has_method(const Value& object, const std::string& name);
Value call_method(Evaluator& evaluator, const Value& object, const std::string& name, const Arguments& arguments);
// Python's text % values.
Text format_percent(const Text& format, const Value& values);

}  // namespace fathom::jinja
