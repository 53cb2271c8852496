// Splits a text into the pieces that BPE may not merge across. The split sequences of DeepSeek-V3, Qwen2 and Llama-3 are
// scanned by hand-written loops; any other pattern runs on PCRE2.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

class PreTokenizer {
 public:
  // Patterns in order, each with behaviour Isolated: every match is a piece and so is every gap; a later pattern works
  // inside the pieces of the earlier ones. Error (usage) for a pattern that does not compile.
  explicit PreTokenizer(const std::vector<std::string>& patterns);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // Where each piece ends. The text must be well-formed UTF-8. steps grows by the work done.
  void split(std::string_view text, std::vector<size_t>& ends, int64_t& steps) const;
  bool is_scanned() const;  // by a hand-written loop

  static std::vector<std::string> deepseek_v3();
  static std::string qwen2();
  static std::string llama3();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
