#include "base/error.h"

namespace fathom {

Error::Error(Kind kind, const std::string& module, const std::string& message)
    : std::runtime_error("[" + module + "] " + message), kind_(kind) {}

void fail(const char* module, const std::string& message) { throw Error(Error::Kind::kFailed, module, message); }
void fail_usage(const char* module, const std::string& message) { throw Error(Error::Kind::kUsage, module, message); }

}  // namespace fathom
