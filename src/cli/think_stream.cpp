#include "cli/think_stream.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

// Length of the longest end of `text` that a tag begins with.
size_t begun_tag(std::string_view text) {
  for (size_t n = std::min(text.size(), kClose.size() - 1); n > 0; --n)
    if (const std::string_view end = text.substr(text.size() - n); kOpen.starts_with(end) || kClose.starts_with(end)) return n;
  return 0;
}

}  // namespace

void ThinkStream::push(std::string_view text) {
  pending_ += text;
  for (;;) {
    const std::string_view rest = pending_;
    const size_t open = rest.find(kOpen), close = rest.find(kClose), at = std::min(open, close);
    if (at == std::string_view::npos) break;
    if (at > 0) emit_(thinking_, rest.substr(0, at));
    thinking_ = open < close;
    pending_.erase(0, at + (thinking_ ? kOpen.size() : kClose.size()));
  }
  const size_t sure = pending_.size() - begun_tag(pending_);
  if (sure == 0) return;
  emit_(thinking_, std::string_view(pending_).substr(0, sure));
  pending_.erase(0, sure);
}

void ThinkStream::finish() {
  if (!pending_.empty()) emit_(thinking_, pending_);
  pending_.clear();
}

}  // namespace fathom
