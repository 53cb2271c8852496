#include "text/jinja_parser.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_parser_impl.h"

namespace fathom::jinja {

void Parser::end_block() {
  if (!is(Token::kBlockEnd)) unexpected();
  ++at_;
}
void Parser::end_tag(std::string_view name) {
  if (!take_name(name)) unexpected();
  end_block();
}

Body Parser::parse() {
  Body out = body({});
  return out;
}

Body Parser::body(std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  Body out;
  for (;;) {
    const Token& token = now();
    switch (token.kind) {
      case Token::kData: {
        ++at_;
        NodePtr data = node(Node::kData, token.line);
        data->value = Value(token.text);
        out.push_back(std::move(data));
        break;
      }
      case Token::kVariableBegin: {
        ++at_;
        NodePtr value = tuple(true);
        if (!is(Token::kVariableEnd)) unexpected();
        ++at_;
        NodePtr output = node(Node::kOutput, token.line);
        output->children.push_back(std::move(value));
        out.push_back(std::move(output));
        break;
      }
      case Token::kBlockBegin: {
        ++at_;
        if (!is(Token::kName)) unexpected();
        if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return out;
        out.push_back(statement());
        break;
      }
      case Token::kEnd:
        if (ends.size() == 0) return out;
        error("the template ends before {% " + std::string(*(ends.end() - 1)) + " %}");
      default:
        unexpected();
    }
  }
}

NodePtr Parser::statement() {
  const int line = now().line;
  const std::string name = want_name();
  if (name == "if") return if_statement();
  if (name == "for") return for_statement();
  if (name == "set") return set_statement();
  if (name == "macro") return macro();
  if (name == "call") return call_block();
  if (name == "filter") return filter_block();
  if (name == "with") return with_statement();
  if (name == "break" || name == "continue") {
    end_block();
    return node(name == "break" ? Node::kBreak : Node::kContinue, line);
  }
  if (name == "generation") {
    end_block();
    NodePtr out = node(Node::kGroup, line);
    out->bodies.push_back(body({"endgeneration"}));
    end_tag("endgeneration");
    return out;
  }
  if (name == "block") {
    want_name();
    take_name("scoped");
    take_name("required");
    end_block();
    const Soft soft(*this, false);
    NodePtr out = node(Node::kScope, line);
    out->bodies.push_back(body({"endblock"}));
    take_name("endblock");
    if (is(Token::kName)) ++at_;
    end_block();
    return out;
  }
  syntax_error(line, "unknown or unsupported tag '" + printable(name, 60) + "'");
}

NodePtr Parser::if_statement() {
  NodePtr out = node(Node::kIf, now().line);
  const Soft soft(*this, true);
  for (;;) {
    out->children.push_back(tuple(false));
    end_block();
    out->bodies.push_back(body({"elif", "else", "endif"}));
    if (take_name("elif")) continue;
    if (take_name("else")) {
      end_block();
      out->bodies.push_back(body({"endif"}));
    }
    end_tag("endif");
    return out;
  }
}

NodePtr Parser::single_target(bool with_attributes) {
  const int line = now().line;
  if (take_operator("(")) {
    const Nested nested(*this);
    NodePtr inside = target(false);
    want_operator(")");
    return inside;
  }
  NodePtr out = node(Node::kName, line);
  out->name = want_name();
  static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
  if (std::find(std::begin(kReserved), std::end(kReserved), out->name) != std::end(kReserved))
    syntax_error(line, "'" + out->name + "' cannot be assigned to");
  if (with_attributes && take_operator(".")) {
    NodePtr attribute = node(Node::kAttribute, line);
    attribute->children.push_back(std::move(out));
    attribute->name = want_name();
    return attribute;
  }
  return out;
}

NodePtr Parser::target(bool with_attributes) {
  const int line = now().line;
  Body items;
  bool comma = false;
  do {
    if (!is(Token::kName) && !is_operator("(")) break;  // a comma at the end
    items.push_back(single_target(with_attributes));
    comma = take_operator(",");
  } while (comma);
  if (items.empty()) unexpected();
  if (items.size() == 1 && !comma) return std::move(items[0]);
  return node(Node::kTuple, line, std::move(items));
}

NodePtr Parser::for_statement() {
  const int line = now().line;
  NodePtr out = node(Node::kFor, line);
  out->children.push_back(target(false));
  if (!take_name("in")) unexpected();
  const Soft soft(*this, false);
  out->children.push_back(tuple(false));
  out->children.push_back(take_name("if") ? expression() : nullptr);
  out->flag = take_name("recursive");
  end_block();
  out->bodies.push_back(body({"else", "endfor"}));
  out->bodies.emplace_back();
  if (take_name("else")) {
    end_block();
    out->bodies[1] = body({"endfor"});
  }
  end_tag("endfor");
  return out;
}

NodePtr Parser::set_statement() {
  NodePtr out = node(Node::kSet, now().line);
  out->children.push_back(target(true));
  if (take_operator("=")) {
    out->children.push_back(tuple(true));
    end_block();
    return out;
  }
  out->kind = Node::kSetBlock;
  NodePtr chain;
  while (take_operator("|")) chain = filter(std::move(chain));
  out->children.push_back(std::move(chain));
  end_block();
  const Soft soft(*this, false);
  out->bodies.push_back(body({"endset"}));
  end_tag("endset");
  return out;
}

void Parser::parameters(Node& macro) {
  want_operator("(");
  while (!is_operator(")")) {
    std::string name = want_name();
    NodePtr value;
    if (take_operator("="))
      value = expression();
    else if (!macro.named.empty() && macro.named.back().second)
      error("a parameter without default behind one with a default");
    macro.named.emplace_back(std::move(name), std::move(value));
    if (!take_operator(",")) break;
  }
  want_operator(")");
}

NodePtr Parser::macro() {
  NodePtr out = node(Node::kMacro, now().line);
  out->name = want_name();
  const Soft soft(*this, false);
  parameters(*out);
  end_block();
  out->bodies.push_back(body({"endmacro"}));
  end_tag("endmacro");
  return out;
}

NodePtr Parser::call_block() {
  NodePtr out = node(Node::kCallBlock, now().line);
  const Soft soft(*this, false);
  if (is_operator("(")) parameters(*out);
  out->children.push_back(expression());
  if (out->children[0]->kind != Node::kCall) syntax_error(out->line, "{% call %} needs a call");
  end_block();
  out->bodies.push_back(body({"endcall"}));
  end_tag("endcall");
  return out;
}

NodePtr Parser::filter_block() {
  NodePtr out = node(Node::kFilterBlock, now().line);
  const Soft soft(*this, false);
  NodePtr chain = filter(nullptr);
  while (take_operator("|")) chain = filter(std::move(chain));
  out->children.push_back(std::move(chain));
  end_block();
  out->bodies.push_back(body({"endfilter"}));
  end_tag("endfilter");
  return out;
}

NodePtr Parser::with_statement() {
  NodePtr out = node(Node::kWith, now().line);
  const Soft soft(*this, false);
  while (!is(Token::kBlockEnd)) {
    if (!out->children.empty()) want_operator(",");
    out->children.push_back(single_target(false));
    want_operator("=");
    out->children.push_back(expression());
  }
  end_block();
  out->bodies.push_back(body({"endwith"}));
  end_tag("endwith");
  return out;
}

Body parse_template(std::string_view source) { return Parser(tokenize(source)).parse(); }

}  // namespace fathom::jinja
