#include "tasks/options.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

bool parse_integer(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

TaskOptions::TaskOptions(std::string task, const std::vector<std::pair<std::string, std::string>>& options)
    : task_(std::move(task)) {
  for (const auto& [name, value] : options)
    if (!left_.emplace(name, value).second) fail_usage("task", task_ + ": option '" + printable(name) + "' is given twice");
}

bool TaskOptions::take(const std::string& name, std::string& value) {
  known_.push_back(name);
  const auto found = left_.find(name);
  if (found == left_.end()) return false;
  value = found->second;
  left_.erase(found);
  return true;
}

void TaskOptions::wrong(const std::string& name, const std::string& value, const std::string& wanted) const {
  fail_usage("task", task_ + ": option " + name + " is '" + printable(value) + "'; " + wanted + " is expected");
}

int64_t TaskOptions::integer(const std::string& name, int64_t fallback, int64_t low, int64_t high) {
  std::string text;
  if (!take(name, text)) return fallback;
  int64_t value = 0;
  if (!parse_integer(text, value) || value < low || value > high)
    wrong(name, text, "an integer in " + std::to_string(low) + ".." + std::to_string(high));
  return value;
}

Range TaskOptions::range(const std::string& name, Range fallback, int64_t low, int64_t high) {
  std::string text;
  if (!take(name, text)) return fallback;
  const size_t dash = text.find('-');
  Range value{};
  const bool good = dash == std::string::npos
                        ? parse_integer(text, value.low)
                        : parse_integer(text.substr(0, dash), value.low) && parse_integer(text.substr(dash + 1), value.high);
  if (dash == std::string::npos) value.high = value.low;
  if (!good || value.low < low || value.high > high || value.low > value.high)
    wrong(name, text, "a number or a range like 3-4 within " + std::to_string(low) + "-" + std::to_string(high));
  return value;
}

bool TaskOptions::boolean(const std::string& name, bool fallback) {
  std::string text;
  if (!take(name, text)) return fallback;
  if (text != "true" && text != "false") wrong(name, text, "true or false");
  return text == "true";
}

std::string TaskOptions::characters(const std::string& name, const std::string& fallback, const std::string& allowed) {
  std::string text;
  if (!take(name, text)) return fallback;
  std::string sorted = text;
  std::sort(sorted.begin(), sorted.end());
  if (text.empty() || text.find_first_not_of(allowed) != std::string::npos ||
      std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    wrong(name, text, "some of the characters " + allowed);
  return text;
}

void TaskOptions::finish() const {
  if (left_.empty()) return;
  std::string known;
  for (const std::string& name : known_) known += (known.empty() ? "" : ", ") + name;
  fail_usage("task", task_ + ": no option '" + printable(left_.begin()->first) + "'; there are: " + known);
}

}  // namespace fathom
