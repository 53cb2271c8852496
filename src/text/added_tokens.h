// Finds added tokens in a text: leftmost, then longest, as the tokenizers library does.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;             // no letter, digit, … may stand beside it
  bool lstrip = false, rstrip = false;  // takes the white space beside it
  bool normalized = false;              // looked for in the normalised text
};

// A part of a text, [begin, end); label: what it is to whoever made it.
struct TextSpan {
  size_t begin, end;
  int label = 0;
};

class AddedTokenFinder {
 public:
  AddedTokenFinder();
  void add(const AddedToken& token, std::string_view content);
  bool empty() const { return tokens_.empty(); }

  // Parts of a text in order: a token, or (id -1) the text between tokens; none is empty.
  struct Part {
    int32_t id;
    size_t begin, end;
  };
  // specials_as_text: tokens marked special are passed over. plain: where no token is recognised, in order; a token lies
  // outside of them as a whole, and what they hold cannot swallow one that does.
  void find(std::string_view text, bool specials_as_text, std::span<const TextSpan> plain, std::vector<Part>& parts) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  int32_t longest_at(std::string_view text, size_t at, size_t limit, size_t& end) const;
  std::vector<Node> nodes_;
  std::vector<AddedToken> tokens_;
  std::array<bool, 256> first_{};
};

}  // namespace fathom
