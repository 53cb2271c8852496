// For tests: where the fixtures lie, $FATHOM_FIXTURES or the folder shared/ beside the repository.
#pragma once
#include <cstdlib>
#include <string>

#include "base/test_paths.h"

namespace fathom {

inline std::string fixtures_folder() {
  const char* given = std::getenv("FATHOM_FIXTURES");
  return given ? std::string(given) : source_path("../shared/fixtures");
}
inline std::string models_folder() { return fixtures_folder() + "/models"; }

}  // namespace fathom
