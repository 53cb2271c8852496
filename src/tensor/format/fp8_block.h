// DeepSeek's FP8 weights: E4M3 bytes, one f32 scale for every block of 128 x 128 (report §3.3.2).
#pragma once
#include <cstdint>

namespace fathom {
constexpr int64_t kFp8Block = 128;
}  // namespace fathom
