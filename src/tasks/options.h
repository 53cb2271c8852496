// Options of a task: each is declared once with its default and range; what is left over at the end is unknown.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace fathom {

struct Range {
  int64_t low, high;
};

class TaskOptions {
 public:
  TaskOptions(std::string task, const std::vector<std::pair<std::string, std::string>>& options);
  int64_t integer(const std::string& name, int64_t fallback, int64_t low, int64_t high);
  Range range(const std::string& name, Range fallback, int64_t low, int64_t high);  // "3" or "3-4"
  bool boolean(const std::string& name, bool fallback);
  std::string characters(const std::string& name, const std::string& fallback, const std::string& allowed);
  void finish() const;  // Error (usage) where an option was not asked for

 private:
  bool take(const std::string& name, std::string& value);
  [[noreturn]] void wrong(const std::string& name, const std::string& value, const std::string& wanted) const;
  std::string task_;
  std::map<std::string, std::string> left_;
  std::vector<std::string> known_;
};

}  // namespace fathom
