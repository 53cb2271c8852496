// Numbers as people read them.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

namespace fathom {

inline std::string with_commas(int64_t value) {  // 671,026,419,200
  std::string digits = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}
inline std::string in_words(int64_t count) {  // 671.03 B, 1.78 M, 157.0 K
  char text[32];
  const double n = static_cast<double>(count);
  if (n >= 1e9)
    std::snprintf(text, sizeof text, "%.2f B", n / 1e9);
  else if (n >= 1e6)
    std::snprintf(text, sizeof text, "%.2f M", n / 1e6);
  else if (n >= 1e3)
    std::snprintf(text, sizeof text, "%.1f K", n / 1e3);
  else
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(count));
  return text;
}

}  // namespace fathom
