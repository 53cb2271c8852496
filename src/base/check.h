// Programmer errors: CHECK prints the expression, the values and the place, then aborts. User errors are base/error.h.
#pragma once
#include <cstdint>

namespace fathom {
[[noreturn]] void check_failed(const char* file, int line, const char* expression);
[[noreturn]] void check_failed(const char* file, int line, const char* expression, int64_t left, int64_t right);
}  // namespace fathom

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (__builtin_expect(!(condition), 0)) ::fathom::check_failed(__FILE__, __LINE__, #condition); \
  } while (0)
// Integers only; prints both values.
#define CHECK_EQ(left, right)                                                                         \
  do {                                                                                                \
    const int64_t check_left = static_cast<int64_t>(left), check_right = static_cast<int64_t>(right); \
    if (__builtin_expect(check_left != check_right, 0))                                               \
      ::fathom::check_failed(__FILE__, __LINE__, #left " == " #right, check_left, check_right);       \
  } while (0)
