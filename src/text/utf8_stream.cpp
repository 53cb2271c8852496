#include "text/tokenizer.h"
#include "text/unicode.h"

namespace fathom {

std::string Utf8Stream::push(std::string_view bytes) {
  pending_.append(bytes);
  std::string out;
  size_t at = 0;
  while (at < pending_.size()) {
    const Utf8Sequence next = utf8_sequence(std::string_view(pending_).substr(at));
    if (next.incomplete) break;
    if (next.valid)
      out.append(pending_, at, next.length);
    else
      out += "\xEF\xBF\xBD";
    at += next.length;
  }
  pending_.erase(0, at);
  return out;
}

std::string Utf8Stream::flush() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return unfinished ? "\xEF\xBF\xBD" : "";
}

}  // namespace fathom
