// The parser's class: expressions in jinja_expression_parser.cpp, statements in jinja_parser.cpp.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_node.h"

namespace fathom::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Body parse();

 private:
  static constexpr int kMaxNesting = 100;  // of brackets and blocks
  static constexpr int kMaxDepth = 400;    // of the tree: a + b + c + … grows by one for each
  struct Nested {
    explicit Nested(Parser& parser) : parser(parser) {
      if (++parser.nesting_ > kMaxNesting) parser.error("nested too deeply");
    }
    ~Nested() { --parser.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Parser& parser;
  };

  const Token& now() const { return tokens_[at_]; }
  bool is(Token::Kind kind) const { return now().kind == kind; }
  bool is_name(std::string_view name, size_t ahead = 0) const {
    const Token& token = tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
    return token.kind == Token::kName && token.text == name;
  }
  bool is_operator(std::string_view text) const { return is(Token::kOperator) && now().text == text; }
  bool take_name(std::string_view name) { return is_name(name) && (++at_, true); }
  bool take_operator(std::string_view text) { return is_operator(text) && (++at_, true); }
  void want_operator(std::string_view text);
  std::string want_name();
  [[noreturn]] void error(const std::string& what) const { syntax_error(now().line, what); }
  [[noreturn]] void unexpected() const;

  NodePtr node(Node::Kind kind, int line, Body children = {}) const;
  void check_depth(Node& node) const;

  // Expressions, loosest first.
  NodePtr tuple(bool conditional, bool parenthesised = false);
  NodePtr expression(bool conditional = true);
  NodePtr disjunction();
  NodePtr conjunction();
  NodePtr negation();
  NodePtr comparison();
  NodePtr sum();
  NodePtr concatenation();
  NodePtr product();
  NodePtr power();
  NodePtr unary(bool with_filters);
  NodePtr primary();
  NodePtr list();
  NodePtr dict();
  NodePtr postfix(NodePtr value);
  NodePtr filters(NodePtr value);
  NodePtr filter(NodePtr input);  // behind '|', or at the name of a filter block
  NodePtr test(NodePtr value);
  NodePtr subscript(NodePtr value);
  void arguments(Node& call);  // ( … )
  void check_known(bool known, const char* what, const std::string& name) const;

  // Statements.
  Body body(std::initializer_list<std::string_view> ends);  // up to {% end, whose name is not yet taken
  void end_block();                                         // %}
  void end_tag(std::string_view name);                      // name %}
  NodePtr statement();
  NodePtr if_statement();
  NodePtr for_statement();
  NodePtr set_statement();
  NodePtr macro();
  NodePtr call_block();
  NodePtr filter_block();
  NodePtr with_statement();
  NodePtr target(bool with_attributes);
  NodePtr single_target(bool with_attributes);
  void parameters(Node& macro);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  // Inside an `if`: an unknown filter fails only where it is reached, as in jinja2. Elsewhere at once.
  bool soft_ = false;
  struct Soft {
    Soft(Parser& parser, bool soft) : parser(parser), before(parser.soft_) { parser.soft_ = soft; }
    ~Soft() { parser.soft_ = before; }
    Soft(const Soft&) = delete;
    Soft& operator=(const Soft&) = delete;
    Parser& parser;
    bool before;
  };
};

}  // namespace fathom::jinja
