#include <algorithm>
#include <cstdlib>

#include "base/utf8.h"
#include "text/jinja_filters.h"
#include "text/jinja_parser_impl.h"

namespace fathom::jinja {
namespace {

std::string shown(const Token& token) {
  switch (token.kind) {
    case Token::kEnd:
      return "the end of the template";
    case Token::kBlockEnd:
      return "'%}'";
    case Token::kVariableEnd:
      return "'}}'";
    default:
      return "'" + printable(token.text, 40) + "'";
  }
}

}  // namespace

void Parser::unexpected() const { error("unexpected " + shown(now())); }
void Parser::want_operator(std::string_view text) {
  if (!take_operator(text)) error("expected '" + std::string(text) + "', found " + shown(now()));
}
std::string Parser::want_name() {
  if (!is(Token::kName)) error("expected a name, found " + shown(now()));
  return tokens_[at_++].text;
}

NodePtr Parser::node(Node::Kind kind, int line, Body children) const {
  auto out = std::make_unique<Node>();
  out->kind = kind;
  out->line = line;
  out->children = std::move(children);
  check_depth(*out);
  return out;
}

void Parser::check_depth(Node& node) const {
  for (const NodePtr& child : node.children)
    if (child) node.depth = std::max(node.depth, child->depth + 1);
  for (const auto& [name, child] : node.named)
    if (child) node.depth = std::max(node.depth, child->depth + 1);
  if (node.depth > kMaxDepth) syntax_error(node.line, "an expression is too long");
}

template <class... Nodes>
static Body nodes(Nodes... each) {
  Body out;
  (out.push_back(std::move(each)), ...);
  return out;
}

// a, b, c or one expression. Ends where a statement or bracket ends.
NodePtr Parser::tuple(bool conditional, bool parenthesised) {
  const int line = now().line;
  Body items;
  bool comma = false;
  const auto at_end = [&] {
    return is(Token::kVariableEnd) || is(Token::kBlockEnd) || is_operator(")") || is_name("in") || is_name("recursive") ||
           (!conditional && is_name("if"));
  };
  while (!at_end()) {
    items.push_back(expression(conditional));
    comma = take_operator(",");
    if (!comma) break;
  }
  if (items.size() == 1 && !comma) return std::move(items[0]);
  if (items.empty() && !parenthesised) unexpected();
  return node(Node::kTuple, line, std::move(items));
}

NodePtr Parser::expression(bool conditional) {
  const Nested nested(*this);
  if (!conditional) return disjunction();
  const int line = now().line;
  NodePtr value = disjunction();
  while (take_name("if")) {
    NodePtr condition = disjunction(), other;
    if (take_name("else")) other = expression();
    value = node(Node::kConditional, line, nodes(std::move(value), std::move(condition), std::move(other)));
  }
  return value;
}

NodePtr Parser::disjunction() {
  const int line = now().line;
  Body operands = nodes(conjunction());
  while (take_name("or")) operands.push_back(conjunction());
  return operands.size() == 1 ? std::move(operands[0]) : node(Node::kOr, line, std::move(operands));
}
NodePtr Parser::conjunction() {
  const int line = now().line;
  Body operands = nodes(negation());
  while (take_name("and")) operands.push_back(negation());
  return operands.size() == 1 ? std::move(operands[0]) : node(Node::kAnd, line, std::move(operands));
}
NodePtr Parser::negation() {
  const Nested nested(*this);
  const int line = now().line;
  if (!take_name("not")) return comparison();
  return node(Node::kNot, line, nodes(negation()));
}

NodePtr Parser::comparison() {
  const int line = now().line;
  Body operands = nodes(sum());
  std::vector<std::string> words;
  for (;;) {
    static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
    if (is(Token::kOperator) && std::find(std::begin(kOperators), std::end(kOperators), now().text) != std::end(kOperators)) {
      words.push_back(tokens_[at_++].text);
    } else if (take_name("in")) {
      words.emplace_back("in");
    } else if (is_name("not") && is_name("in", 1)) {
      at_ += 2;
      words.emplace_back("not in");
    } else {
      break;
    }
    operands.push_back(sum());
  }
  if (words.empty()) return std::move(operands[0]);
  NodePtr out = node(Node::kCompare, line, std::move(operands));
  out->words = std::move(words);
  return out;
}

NodePtr Parser::sum() {
  NodePtr left = concatenation();
  while (is_operator("+") || is_operator("-")) {
    const Token& op = tokens_[at_++];
    left = node(Node::kBinary, op.line, nodes(std::move(left), concatenation()));
    left->name = op.text;
  }
  return left;
}
NodePtr Parser::concatenation() {
  const int line = now().line;
  Body operands = nodes(product());
  while (take_operator("~")) operands.push_back(product());
  return operands.size() == 1 ? std::move(operands[0]) : node(Node::kConcat, line, std::move(operands));
}
NodePtr Parser::product() {
  NodePtr left = power();
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    const Token& op = tokens_[at_++];
    left = node(Node::kBinary, op.line, nodes(std::move(left), power()));
    left->name = op.text;
  }
  return left;
}
NodePtr Parser::power() {
  NodePtr left = unary(true);
  while (is_operator("**")) {
    const Token& op = tokens_[at_++];
    left = node(Node::kBinary, op.line, nodes(std::move(left), unary(true)));
    left->name = op.text;
  }
  return left;
}

NodePtr Parser::unary(bool with_filters) {
  const Nested nested(*this);
  NodePtr value;
  if (is_operator("-") || is_operator("+")) {
    const Token& op = tokens_[at_++];
    value = node(Node::kUnary, op.line, nodes(unary(false)));
    value->name = op.text;
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters(std::move(value)) : std::move(value);
}

NodePtr Parser::primary() {
  const Token& token = now();
  NodePtr out = node(Node::kLiteral, token.line);
  switch (token.kind) {
    case Token::kName: {
      ++at_;
      const std::string& name = token.text;
      if (name == "true" || name == "True") {
        out->value = Value(true);
      } else if (name == "false" || name == "False") {
        out->value = Value(false);
      } else if (name == "none" || name == "None") {
        out->value = Value(None{});
      } else {
        out->kind = Node::kName;
        out->name = name;
      }
      return out;
    }
    case Token::kString: {
      std::string text;
      while (is(Token::kString)) text += tokens_[at_++].text;  // 'a' 'b' is one string
      out->value = Value(std::move(text));
      return out;
    }
    case Token::kInteger: {
      ++at_;
      const char prefix = token.text.size() > 1 ? static_cast<char>(token.text[1] | 0x20) : '0';
      const int base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
      Int value = 0;
      for (size_t i = base == 10 ? 0 : 2; i < token.text.size(); ++i) {
        const char c = token.text[i];
        const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        if (digit >= base) syntax_error(token.line, "'" + printable(token.text, 40) + "' is no number");
        if (__builtin_mul_overflow(value, Int{base}, &value) || __builtin_add_overflow(value, Int{digit}, &value))
          syntax_error(token.line, "the number " + printable(token.text, 60) + " is too large");
      }
      out->value = Value(value);
      return out;
    }
    case Token::kFloat:
      ++at_;
      out->value = Value(std::strtod(token.text.c_str(), nullptr));
      return out;
    case Token::kOperator:
      if (take_operator("(")) {
        const Nested nested(*this);
        NodePtr inside = tuple(true, true);
        want_operator(")");
        return inside;
      }
      if (is_operator("[")) return list();
      if (is_operator("{")) return dict();
      unexpected();
    default:
      unexpected();
  }
}

NodePtr Parser::list() {
  const int line = now().line;
  want_operator("[");
  Body items;
  while (!is_operator("]")) {
    items.push_back(expression());
    if (!take_operator(",")) break;
  }
  want_operator("]");
  return node(Node::kList, line, std::move(items));
}
NodePtr Parser::dict() {
  const int line = now().line;
  want_operator("{");
  Body items;
  while (!is_operator("}")) {
    items.push_back(expression());
    want_operator(":");
    items.push_back(expression());
    if (!take_operator(",")) break;
  }
  want_operator("}");
  return node(Node::kDict, line, std::move(items));
}

NodePtr Parser::postfix(NodePtr value) {
  for (;;) {
    const int line = now().line;
    if (take_operator(".")) {
      if (is(Token::kInteger)) {  // x.0
        NodePtr key = primary();
        value = node(Node::kIndex, line, nodes(std::move(value), std::move(key)));
      } else {
        value = node(Node::kAttribute, line, nodes(std::move(value)));
        value->name = want_name();
      }
    } else if (is_operator("[")) {
      value = subscript(std::move(value));
    } else if (is_operator("(")) {
      value = node(Node::kCall, line, nodes(std::move(value)));
      arguments(*value);
    } else {
      return value;
    }
  }
}

NodePtr Parser::subscript(NodePtr value) {
  const int line = now().line;
  want_operator("[");
  NodePtr parts[3];
  int colons = 0;
  while (!is_operator("]")) {
    if (take_operator(":")) {
      if (++colons > 2) unexpected();
    } else if (!parts[colons]) {
      parts[colons] = expression();
      if (is_operator(",")) error("an index of several parts is not supported");
    } else {
      unexpected();
    }
  }
  want_operator("]");
  if (colons > 0)
    return node(Node::kSlice, line, nodes(std::move(value), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])));
  if (!parts[0]) error("an index is missing");
  return node(Node::kIndex, line, nodes(std::move(value), std::move(parts[0])));
}

NodePtr Parser::filters(NodePtr value) {
  for (;;) {
    const int line = now().line;
    if (take_operator("|")) {
      value = filter(std::move(value));
    } else if (take_name("is")) {
      value = test(std::move(value));
    } else if (is_operator("(")) {
      value = node(Node::kCall, line, nodes(std::move(value)));
      arguments(*value);
    } else {
      return value;
    }
  }
}

void Parser::check_known(bool known, const char* what, const std::string& name) const {
  if (!known && !soft_) error(std::string("no ") + what + " named '" + printable(name, 60) + "'");
}

NodePtr Parser::filter(NodePtr input) {
  const int line = now().line;
  NodePtr out = node(Node::kFilter, line, nodes(std::move(input)));
  out->name = want_name();
  while (take_operator(".")) out->name += "." + want_name();
  check_known(is_filter(out->name), "filter", out->name);
  if (is_operator("(")) arguments(*out);
  return out;
}

NodePtr Parser::test(NodePtr value) {
  const int line = now().line;
  const bool negated = take_name("not");
  NodePtr out = node(Node::kTest, line, nodes(std::move(value)));
  out->flag = negated;
  out->name = want_name();
  while (take_operator(".")) out->name += "." + want_name();
  check_known(is_test(out->name), "test", out->name);
  if (is_operator("(")) {
    arguments(*out);
  } else if (is(Token::kString) || is(Token::kInteger) || is(Token::kFloat) || is_operator("[") || is_operator("{") ||
             (is(Token::kName) && !is_name("else") && !is_name("or") && !is_name("and") && !is_name("if") && !is_name("is") &&
              !is_name("in") && !is_name("not"))) {
    out->children.push_back(postfix(primary()));
    check_depth(*out);
  } else if (is_name("is")) {
    error("tests cannot be chained with 'is'");
  }
  return out;
}

void Parser::arguments(Node& call) {
  const Nested nested(*this);
  want_operator("(");
  while (!is_operator(")")) {
    const int line = now().line;
    if (take_operator("*")) {
      call.children.push_back(node(Node::kStar, line, nodes(expression())));
    } else if (take_operator("**")) {
      call.children.push_back(node(Node::kStarStar, line, nodes(expression())));
    } else if (is(Token::kName) && tokens_[at_ + 1].kind == Token::kOperator && tokens_[at_ + 1].text == "=") {
      std::string name = want_name();
      ++at_;
      call.named.emplace_back(std::move(name), expression());
    } else {
      if (!call.named.empty()) error("an argument without name behind one with a name");
      call.children.push_back(expression());
    }
    if (!take_operator(",")) break;
  }
  want_operator(")");
  check_depth(call);
}

}  // namespace fathom::jinja
