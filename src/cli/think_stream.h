// Splits streamed text into thinking and answer at <think> and </think>, which are not part of either. A piece of text that
// may become a tag is held back until it is known.
#pragma once
#include <functional>
#include <string>
#include <string_view>

namespace fathom {

class ThinkStream {
 public:
  using Emit = std::function<void(bool thinking, std::string_view text)>;
  // `thinking`: the prompt has opened the tag already (R1's generation prompt).
  ThinkStream(bool thinking, Emit emit) : thinking_(thinking), emit_(std::move(emit)) {}
  void push(std::string_view text);
  void finish();
  bool thinking() const { return thinking_; }

 private:
  bool thinking_;
  Emit emit_;
  std::string pending_;
};

}  // namespace fathom
