// A string of the template interpreter: its bytes, and for each byte where it comes from.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::jinja {

// Marks of bytes. Everything but kTemplate came in with the conversation and must never become a control token.
enum Mark : char { kTemplate = 0, kData = 1, kAnswer = 2 };  // kAnswer: an assistant's turn that is to be learned

class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, Mark mark = kTemplate) : bytes_(std::move(bytes)), marks_(bytes_.size(), mark) {}

  const std::string& bytes() const { return bytes_; }
  const std::string& marks() const { return marks_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  char operator[](size_t i) const { return bytes_[i]; }

  void append(const Text& other) { append(other, 0, other.size()); }
  void append(const Text& other, size_t begin, size_t end) {
    bytes_.append(other.bytes_, begin, end - begin);
    marks_.append(other.marks_, begin, end - begin);
  }
  void append(std::string_view bytes, char mark = kTemplate) {
    bytes_.append(bytes);
    marks_.append(bytes.size(), mark);
  }
  Text slice(size_t begin, size_t end) const {
    Text out;
    out.append(*this, begin, end);
    return out;
  }

 private:
  std::string bytes_, marks_;
};

}  // namespace fathom::jinja
