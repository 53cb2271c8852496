// The output of a run over the lines of a file: JSON results, a line each, which a later run goes on with. What a kill leaves
// is whole lines and at most one torn one at the end, which opening cuts off.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/json.h"

namespace fathom {

class ResultLines {
 public:
  // Error (usage) where the file holds anything but results, or where another process writes to it.
  explicit ResultLines(const std::string& path);
  ~ResultLines();
  ResultLines(const ResultLines&) = delete;
  ResultLines& operator=(const ResultLines&) = delete;

  // The ids, as JSON text, of the results that were there, by their lines of the input.
  const std::unordered_map<int64_t, std::string>& before() const { return before_; }
  int64_t num_failed_before() const { return num_failed_before_; }  // of these, errors
  int64_t last_line() const { return last_line_; }                  // the largest of them; 0: none
  // A result holds `line`, a whole number from 1, `id`, and `finish_reason` or `error`.
  void write(const Json& result);
  void sync();  // to the disk

 private:
  std::string path_;
  int fd_ = -1;
  std::unordered_map<int64_t, std::string> before_;
  int64_t num_failed_before_ = 0, last_line_ = 0;
};

}  // namespace fathom
