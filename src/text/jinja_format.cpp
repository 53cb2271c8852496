// Python's text % values: %s %r %d %i %u %x %X %o %f %F %e %g %c and %%, with flags, width and precision.
#include <algorithm>
#include <cmath>

#include "text/jinja_characters.h"
#include "text/jinja_evaluator.h"

namespace fathom::jinja {
namespace {

struct Conversion {
  std::string flags;
  int width = 0, precision = -1;
  char kind = 's';
};

void pad(const Text& body, const Conversion& c, bool number, Text& out) {
  const int missing = c.width - static_cast<int>(count_characters(body.bytes()));
  const bool left = c.flags.find('-') != std::string::npos, zero = number && !left && c.flags.find('0') != std::string::npos;
  size_t sign = 0;
  if (zero && !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ')) out.append(body, 0, sign = 1);
  for (int i = 0; !left && i < missing; ++i) out.append(zero ? "0" : " ");
  out.append(body, sign, body.size());
  for (int i = 0; left && i < missing; ++i) out.append(" ");
}

std::string in_base(Int value, int base, bool capitals) {
  std::string out;
  const bool negative = value < 0;
  do {
    const int digit = static_cast<int>(value % base);
    out.insert(out.begin(), (capitals ? "0123456789ABCDEF" : "0123456789abcdef")[digit < 0 ? -digit : digit]);
    value /= base;
  } while (value != 0);
  return negative ? "-" + out : out;
}

Text converted(const Conversion& c, const Value& value, bool& number) {
  number = std::string_view("diuxXofFeEgG").find(c.kind) != std::string_view::npos;
  if (c.kind == 's' || c.kind == 'r' || c.kind == 'c') {
    Text text;
    if (c.kind == 'r')
      write_repr(value, text);
    else
      text = str(value);
    if (c.kind == 'c' && count_characters(text.bytes()) != 1) refuse("%c requires a single character");
    if (c.precision >= 0) {
      const auto starts = character_starts(text.bytes());
      text = text.slice(0, starts[std::min<size_t>(static_cast<size_t>(c.precision), starts.size() - 1)]);
    }
    return text;
  }
  if (!number) refuse(std::string("unsupported format character '") + c.kind + "'");
  if (value.is_undefined()) refuse(value.why_undefined());
  if (!value.is_number()) refuse(std::string("%") + c.kind + " format: a real number is required, not " + value.type_name());
  std::string out;
  if (std::string_view("fFeEgG").find(c.kind) != std::string_view::npos) {
    char buffer[1024];
    const std::string format = std::string("%.*") + c.kind;
    std::snprintf(buffer, sizeof buffer, format.c_str(), c.precision < 0 ? 6 : c.precision, value.as_real());
    out = buffer;
  } else {
    if (value.real() && !(std::fabs(*value.real()) < 1e37)) refuse("a number is too large");
    const Int i = value.real() ? static_cast<Int>(*value.real()) : *value.as_integer();
    out = c.kind == 'x' || c.kind == 'X' ? in_base(i, 16, c.kind == 'X') : c.kind == 'o' ? in_base(i, 8, false) : to_string(i);
  }
  if (out[0] != '-' && c.flags.find('+') != std::string::npos)
    out.insert(out.begin(), '+');
  else if (out[0] != '-' && c.flags.find(' ') != std::string::npos)
    out.insert(out.begin(), ' ');
  return Text(std::move(out));
}

}  // namespace

Text format_percent(const Text& format, const Value& values) {
  const bool tuple = values.list() && (*values.list())->kind == List::kTuple;
  size_t next = 0;
  const auto take = [&]() -> const Value& {
    if (tuple) {
      if (next >= (*values.list())->items.size()) refuse("not enough arguments for format string");
      return (*values.list())->items[next++];
    }
    if (next++ > 0) refuse("not enough arguments for format string");
    return values;
  };
  Text out;
  for (size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      const size_t end = std::min(format.bytes().find('%', i), format.size());
      out.append(format, i, end);
      i = end;
      continue;
    }
    const auto more = [&] {
      if (++i >= format.size()) refuse("incomplete format");
      return format[i];
    };
    char c = more();
    const Value* named = nullptr;
    if (c == '(') {
      const size_t end = format.bytes().find(')', i);
      if (end == std::string::npos) refuse("incomplete format key");
      if (!values.dict()) refuse("format requires a mapping");
      named = (*values.dict())->find_text(format.bytes().substr(i + 1, end - i - 1));
      if (!named) refuse("format: no key '" + format.bytes().substr(i + 1, end - i - 1) + "'");
      i = end;
      c = more();
    }
    Conversion conversion;
    while (std::string_view("-+ 0#").find(c) != std::string_view::npos) conversion.flags += c, c = more();
    const auto number = [&] {
      int n = 0;
      for (; c >= '0' && c <= '9'; c = more())
        if ((n = 10 * n + c - '0') > 200) refuse("format: a width or precision above 200");
      return n;
    };
    conversion.width = number();
    if (c == '.') {
      c = more();
      conversion.precision = number();
    }
    conversion.kind = c;
    ++i;
    if (c == '%') {
      out.append("%");
      continue;
    }
    bool is_number = false;
    const Text body = converted(conversion, named ? *named : take(), is_number);
    pad(body, conversion, is_number, out);
    if (out.size() > (size_t{64} << 20)) refuse("a text is longer than 64 MiB");
  }
  if (tuple ? next < (*values.list())->items.size() : next == 0 && !values.dict() && !(values.list()))
    refuse("not all arguments converted during string formatting");
  return out;
}

}  // namespace fathom::jinja
