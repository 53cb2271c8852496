// For tests: a fresh folder below the system's temporary one, removed at the end; and the text of an expected Error.
#pragma once
#include <stdlib.h>

#include <string>

#include "base/error.h"
#include "base/files.h"

namespace fathom {

class TestFolder {
 public:
  TestFolder() {
    std::string name = "/tmp/fathom-test-XXXXXX";
    if (!::mkdtemp(name.data())) fail("test", "no temporary folder");
    path_ = name;
  }
  ~TestFolder() { remove_tree(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The message of the Error that `body` throws; "" where it throws none.
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace fathom
