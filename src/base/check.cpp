#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace fathom {
void check_failed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, expression);
  std::abort();
}
void check_failed(const char* file, int line, const char* expression, int64_t left, int64_t right) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s (%lld against %lld)\n", file, line, expression, static_cast<long long>(left),
               static_cast<long long>(right));
  std::abort();
}
}  // namespace fathom
