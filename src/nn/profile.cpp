#include "nn/profile.h"

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "base/progress.h"

namespace fathom {
namespace {

bool& enabled() {
  static bool on = [] {
    const char* v = std::getenv("FATHOM_PROFILE");
    return v && *v && *v != '0';
  }();
  return on;
}
double now() {
  static const bool cpu = [] {
    const char* v = std::getenv("FATHOM_PROFILE");
    return v && std::string(v) == "cpu";
  }();
  if (!cpu) return now_seconds();
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
// The model is run by one thread at a time; so is this table.
std::map<std::string, ProfileRow>& table() {
  static std::map<std::string, ProfileRow> rows;
  return rows;
}

}  // namespace

bool profile_enabled() { return enabled(); }
void profile_enable(bool on) { enabled() = on; }
void profile_reset() { table().clear(); }

void ProfileScope::start() { begin_ = now(); }
void ProfileScope::stop() {
  ProfileRow& row = table()[name_];
  row.seconds += now() - begin_;
  ++row.calls;
}

std::vector<ProfileRow> profile_rows() {
  std::vector<ProfileRow> rows;
  for (const auto& [name, row] : table()) {
    rows.push_back(row);
    rows.back().name = name;
  }
  std::sort(rows.begin(), rows.end(), [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  return rows;
}

std::string profile_table() {
  std::string text;
  char line[160];
  for (const ProfileRow& row : profile_rows()) {
    std::snprintf(line, sizeof line, "%10.3f ms %8ld calls  %s\n", 1e3 * row.seconds, row.calls, row.name.c_str());
    text += line;
  }
  return text;
}

}  // namespace fathom
