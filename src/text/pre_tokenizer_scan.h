// The hand-written loops behind PreTokenizer; each gives exactly what its regular expressions give.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace fathom {

// steps grows by the bytes read: what tests of linear time count.
void scan_deepseek_v3(std::string_view text, std::vector<size_t>& ends, int64_t& steps);
// Qwen2 takes digits one by one, Llama-3 up to three at a time.
void scan_qwen2(std::string_view text, int max_digits, std::vector<size_t>& ends, int64_t& steps);

}  // namespace fathom
