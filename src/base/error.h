// User and environment errors: thrown anywhere, caught once in cli/ (exit 1 or 2) or serve/.
// Form: "[module] what, with which value; what to do".
#pragma once
#include <stdexcept>
#include <string>

namespace fathom {

class Error : public std::runtime_error {
 public:
  // kUsage: bad usage or bad input (exit 2). kFailed: the work could not be done (exit 1).
  enum class Kind { kFailed = 1, kUsage = 2 };
  Error(Kind kind, const std::string& module, const std::string& message);
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

[[noreturn]] void fail(const char* module, const std::string& message);
[[noreturn]] void fail_usage(const char* module, const std::string& message);

}  // namespace fathom
