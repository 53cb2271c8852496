// The tree of a parsed template. One node type: what `children`, `named` and `bodies` hold is said beside each kind.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace fathom::jinja {

struct Node;
using NodePtr = std::unique_ptr<Node>;
using Body = std::vector<NodePtr>;

struct Node {
  enum Kind {
    // Expressions
    kLiteral,      // value
    kName,         // name
    kList,         // items
    kTuple,        // items
    kDict,         // key, value, key, value, …
    kAttribute,    // object; name
    kIndex,        // object, key
    kSlice,        // object, start, stop, step: each of the last three may be null
    kCall,         // callee, arguments…; named
    kStar,         // *arguments of a call
    kStarStar,     // **arguments of a call
    kFilter,       // input (null in a block: the text before), arguments…; name, named
    kTest,         // input, arguments…; name, named; flag: negated
    kUnary,        // operand; name + or -
    kBinary,       // left, right; name: + - * / // % **
    kConcat,       // operands of ~
    kCompare,      // operands; words: the operators between
    kAnd,          // operands
    kOr,           // operands
    kNot,          // operand
    kConditional,  // value, condition, other (null: undefined)
    // Statements
    kData,         // value
    kOutput,       // expression
    kIf,           // conditions; bodies, and one more for else
    kFor,          // target, iterable, condition (null: none); bodies: loop, else; flag: recursive
    kSet,          // target, value
    kSetBlock,     // target, filters (may be null); body
    kMacro,        // name; named: parameters with defaults (null: none); body. As value of kCallBlock: caller
    kCallBlock,    // call; named as kMacro's; body
    kFilterBlock,  // filters; body
    kWith,         // target, value, target, value, …; body
    kScope,        // body with names of its own (block)
    kGroup,        // body (generation)
    kBreak,
    kContinue,
  };
  Kind kind;
  int line;
  int depth = 1;  // of the tree below
  bool flag = false;
  std::string name;
  Value value;
  Body children;
  std::vector<std::pair<std::string, NodePtr>> named;
  std::vector<std::string> words;
  std::vector<Body> bodies;
};

}  // namespace fathom::jinja
