#include "text/jinja_lexer.h"

#include <algorithm>

#include "text/jinja_characters.h"

namespace fathom::jinja {
namespace {

std::string normalised_newlines(std::string_view source) {  // and without the last one
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool digit(char c) { return c >= '0' && c <= '9'; }
bool name_start(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (c & 0x80); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalised_newlines(source)) {}
  std::vector<Token> run();

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool take(std::string_view what) {
    if (!rest().starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  void add(Token::Kind kind, std::string text, int line) { tokens_.push_back({kind, std::move(text), line}); }
  // The line of `to`; asked for in rising order.
  int line_at(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(counted_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    counted_ = to;
    return line_;
  }
  void skip_space() {
    while (at_ < source_.size()) {
      const char* p = source_.data() + at_;
      if (!is_space(next_code_point(p))) break;
      at_ = static_cast<size_t>(p - source_.data());
    }
  }
  void trim_newline() {
    if (at_ < source_.size() && source_[at_] == '\n') ++at_;
  }
  // Behind a closing tag: '-' takes all white space, '+' none, else one line end.
  bool close(std::string_view tag, bool trims) {
    const std::string with_minus = "-" + std::string(tag), with_plus = "+" + std::string(tag);
    if (take(with_minus)) {
      skip_space();
    } else if (trims && take(with_plus)) {
    } else if (take(tag)) {
      if (trims) trim_newline();
    } else {
      return false;
    }
    return true;
  }
  void add_data(size_t begin, size_t end, char sign, bool lstrips);
  void comment(int line);
  bool raw();
  void expression(Token::Kind end_kind, std::string_view end_tag, int line);
  void number();
  void string();
  void tag(size_t next);

  const std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0, counted_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

// The text before a tag. sign: what follows the tag's brace.
void Lexer::add_data(size_t begin, size_t end, char sign, bool lstrips) {
  const Text text(source_.substr(begin, end - begin));
  size_t keep = text.size();
  if (sign == '-') {
    keep = strip_right(text, nullptr, 0);
  } else if (sign != '+' && lstrips) {
    const size_t newline = text.bytes().rfind('\n');
    const size_t line = newline == std::string::npos ? 0 : newline + 1;
    if ((line > 0 || line_starting_) && strip_right(text, nullptr, line) == line) keep = line;
  }
  if (keep > 0) add(Token::kData, text.bytes().substr(0, keep), line_at(begin));
}

void Lexer::comment(int line) {
  const size_t end = source_.find("#}", at_);
  if (end == std::string::npos) syntax_error(line, "a comment {# has no end #}");
  const char sign = end > at_ ? source_[end - 1] : ' ';
  at_ = end + 2;
  if (sign == '-')
    skip_space();
  else if (sign != '+')
    trim_newline();
}

// {% raw %} … {% endraw %}; at_ is behind the brace and sign. False: another block.
bool Lexer::raw() {
  const size_t start = at_;
  const int line = line_at(start);
  skip_space();
  if (!take("raw")) return at_ = start, false;
  skip_space();
  if (take("-%}"))
    skip_space();
  else if (!take("%}"))
    return at_ = start, false;
  const size_t begin = at_;
  for (size_t open = source_.find("{%", at_); open != std::string::npos; open = source_.find("{%", open + 1)) {
    at_ = open + 2;
    const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_++] : ' ';
    skip_space();
    if (!take("endraw")) continue;
    skip_space();
    if (!close("%}", true)) continue;
    const size_t end = at_;
    add_data(begin, open, sign, true);
    at_ = end;
    return true;
  }
  syntax_error(line, "{% raw %} has no {% endraw %}");
}

void Lexer::number() {
  const size_t begin = at_;
  const int line = line_at(begin);
  const auto digits = [&](auto&& is) {
    while (at_ < source_.size() &&
           (is(source_[at_]) || (source_[at_] == '_' && at_ + 1 < source_.size() && is(source_[at_ + 1]))))
      ++at_;
  };
  const char second = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
  bool real = false;
  if (source_[at_] == '0' && (second == 'x' || second == 'o' || second == 'b')) {
    at_ += 2;
    digits([](char c) { return digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); });
  } else {
    digits(digit);
    if (at_ + 1 < source_.size() && source_[at_] == '.' && digit(source_[at_ + 1])) {
      real = true;
      ++at_;
      digits(digit);
    }
    if (at_ < source_.size() && (source_[at_] | 0x20) == 'e') {
      size_t next = at_ + 1;
      if (next < source_.size() && (source_[next] == '+' || source_[next] == '-')) ++next;
      if (next < source_.size() && digit(source_[next])) {
        real = true;
        at_ = next;
        digits(digit);
      }
    }
  }
  std::string text = source_.substr(begin, at_ - begin);
  std::erase(text, '_');
  add(real ? Token::kFloat : Token::kInteger, text, line);
}

void Lexer::string() {
  const char quote = source_[at_];
  const int line = line_at(at_);
  std::string out;
  const auto digits = [&](int most, int base) {
    char32_t c = 0;
    int n = 0;
    for (; n < most && at_ < source_.size(); ++n, ++at_) {
      const char x = source_[at_];
      const int value = digit(x) ? x - '0' : (x | 0x20) >= 'a' && (x | 0x20) <= 'f' ? (x | 0x20) - 'a' + 10 : 99;
      if (value >= base) break;
      c = c * static_cast<char32_t>(base) + static_cast<char32_t>(value);
    }
    if (base == 16 && n != most) syntax_error(line, "a string has an escape with too few digits");
    return c;
  };
  for (++at_;;) {
    if (at_ >= source_.size()) syntax_error(line, "a string has no end");
    const char c = source_[at_++];
    if (c == quote) break;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at_ >= source_.size()) syntax_error(line, "a string has no end");
    const char e = source_[at_++];
    static constexpr std::string_view kNames = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t i = kNames.find(e); i != std::string_view::npos) {
      out += kMeanings[i];
    } else if (e == '\n') {  // a line that goes on
    } else if (e >= '0' && e <= '7') {
      --at_;
      append_utf8(out, digits(3, 8));
    } else if (e == 'x' || e == 'u' || e == 'U') {
      char32_t code = digits(e == 'x' ? 2 : e == 'u' ? 4 : 8, 16);
      if (code >= 0xD800 && code < 0xDC00 && rest().starts_with("\\u")) {  // a pair of surrogates
        at_ += 2;
        const char32_t low = digits(4, 16);
        if (low < 0xDC00 || low > 0xDFFF) syntax_error(line, "a string has half a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        syntax_error(line, "a string has an escape that is no character");
      append_utf8(out, code);
    } else {
      out += '\\';
      out += e;
    }
  }
  add(Token::kString, out, line);
}

// The inside of {{ }} or {% %}.
void Lexer::expression(Token::Kind end_kind, std::string_view end_tag, int line) {
  std::string open;  // brackets
  for (;;) {
    skip_space();
    if (at_ >= source_.size()) syntax_error(line, "a tag has no end " + std::string(end_tag));
    if (open.empty()) {
      const int end_line = line_at(at_);
      if (close(end_tag, end_kind == Token::kBlockEnd)) {
        add(end_kind, "", end_line);
        return;
      }
    }
    const char c = source_[at_];
    if (c == '\'' || c == '"') {
      string();
    } else if (digit(c)) {
      number();
    } else if (name_start(c)) {
      const size_t begin = at_;
      while (at_ < source_.size() && (name_start(source_[at_]) || digit(source_[at_]))) ++at_;
      add(Token::kName, source_.substr(begin, at_ - begin), line_at(begin));
    } else {
      static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
      static constexpr std::string_view kOne = "+-*/%~=<>()[]{},.:|;";
      std::string_view text = rest().substr(0, 2);
      if (std::find(std::begin(kTwo), std::end(kTwo), text) == std::end(kTwo)) text = rest().substr(0, 1);
      if (text.size() == 1 && kOne.find(c) == std::string_view::npos)
        syntax_error(line_at(at_), std::string("unexpected character '") + c + "'");
      if (c == '(' || c == '[' || c == '{') open += c;
      if (c == ')' || c == ']' || c == '}') {
        const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (open.empty() || open.back() != wanted) syntax_error(line_at(at_), std::string("unexpected '") + c + "'");
        open.pop_back();
      }
      add(Token::kOperator, std::string(text), line_at(at_));
      at_ += text.size();
    }
  }
}

void Lexer::tag(size_t begin) {
  const char kind = source_[at_ + 1];
  const size_t open = at_;
  at_ += 2;
  const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_] : ' ';
  add_data(begin, open, sign, kind != '{');
  const int line = line_at(open);
  if (sign != ' ') ++at_;
  if (kind == '#') return comment(line);
  if (kind == '%' && raw()) return;
  add(kind == '%' ? Token::kBlockBegin : Token::kVariableBegin, "", line);
  expression(kind == '%' ? Token::kBlockEnd : Token::kVariableEnd, kind == '%' ? "%}" : "}}", line);
}

std::vector<Token> Lexer::run() {
  for (size_t begin = 0;; begin = at_) {
    size_t open = source_.find('{', at_);
    while (open != std::string::npos &&
           (open + 1 >= source_.size() || std::string_view("{%#").find(source_[open + 1]) == std::string_view::npos))
      open = source_.find('{', open + 1);
    if (open == std::string::npos) {
      if (begin < source_.size()) add(Token::kData, source_.substr(begin), line_at(begin));
      add(Token::kEnd, "", line_at(source_.size()));
      return std::move(tokens_);
    }
    at_ = open;
    tag(begin);
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
  }
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace fathom::jinja
