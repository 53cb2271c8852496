// For tests: where the repository lies and the program that was built. A file that CMake writes defines them, so that no other
// object differs from that of another clone.
#pragma once
#include <string>

namespace fathom {

extern const char kSourceDir[];
extern const char kProgram[];
inline std::string source_path(const std::string& below) { return std::string(kSourceDir) + "/" + below; }

}  // namespace fathom
