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
// The model is run by one thread at a time; so is this.
struct Event {
  const std::string* name;  // a key of `rows`
  double begin, seconds;
  ProfileWork work;
};
struct Profile {
  std::map<std::string, ProfileRow> rows;
  double children = 0;  // seconds of the scopes that ended inside the one that is open now
  bool trace = false;
  std::vector<Event> events;
};
Profile& profile() {
  static Profile instance;
  return instance;
}

double per(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

}  // namespace

bool profile_enabled() { return enabled(); }
void profile_enable(bool on) { enabled() = on; }
void profile_trace(bool on) { profile().trace = on; }
void profile_reset() {
  profile().events.clear();
  profile().rows.clear();
}

void ProfileScope::start() {
  outer_children_ = profile().children;
  profile().children = 0;
  begin_ = now();
}
void ProfileScope::stop() {
  Profile& p = profile();
  const double seconds = now() - begin_;
  const auto at = p.rows.try_emplace(name_).first;
  ProfileRow& row = at->second;
  row.seconds += seconds;
  row.self_seconds += seconds - p.children;
  row.work.flops += work_.flops;
  row.work.bytes += work_.bytes;
  ++row.calls;
  p.children = outer_children_ + seconds;
  if (p.trace) p.events.push_back({&at->first, begin_, seconds, work_});
}

std::vector<ProfileRow> profile_rows() {
  std::vector<ProfileRow> rows;
  for (const auto& [name, row] : profile().rows) {
    rows.push_back(row);
    rows.back().name = name;
  }
  std::sort(rows.begin(), rows.end(), [](const ProfileRow& a, const ProfileRow& b) { return a.self_seconds > b.self_seconds; });
  return rows;
}

std::string profile_table(const char* unit) {
  const std::vector<ProfileRow> rows = profile_rows();
  double whole = 0;
  long units = 1;
  for (const ProfileRow& row : rows) {
    whole += row.self_seconds;
    if (unit && row.name == unit) units = std::max(1l, row.calls);
  }
  char line[200];
  std::snprintf(line, sizeof line, "%10s %10s %7s %8s %9s %8s  scope%s%s\n", "total", "self", "share", "calls", "TFLOP/s",
                "GB/s", unit ? ", each per " : "", unit ? unit : "");
  std::string text = line;
  for (const ProfileRow& row : rows) {
    const double n = static_cast<double>(units);
    std::snprintf(line, sizeof line, "%7.3f ms %7.3f ms %5.1f %% %8.1f", 1e3 * row.seconds / n, 1e3 * row.self_seconds / n,
                  100 * per(row.self_seconds, whole), static_cast<double>(row.calls) / n);
    text += line;
    if (row.work.flops > 0) {
      std::snprintf(line, sizeof line, " %9.4f", per(row.work.flops, row.seconds) / 1e12);
      text += line;
    } else {
      text += std::string(10, ' ');
    }
    if (row.work.bytes > 0) {
      std::snprintf(line, sizeof line, " %8.1f", per(row.work.bytes, row.seconds) / 1e9);
      text += line;
    } else {
      text += std::string(9, ' ');
    }
    text += "  " + row.name + "\n";
  }
  return text;
}

std::string profile_trace_json() {
  const std::vector<Event>& events = profile().events;
  double first = 0;
  for (const Event& e : events) first = first == 0 ? e.begin : std::min(first, e.begin);
  std::string text = "{\"traceEvents\": [";
  char line[240];
  for (size_t i = 0; i < events.size(); ++i) {
    const Event& e = events[i];
    std::snprintf(line, sizeof line,
                  "%s\n{\"name\": \"%s\", \"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"ts\": %.3f, \"dur\": %.3f, "
                  "\"args\": {\"flops\": %.0f, \"bytes\": %.0f}}",
                  i ? "," : "", e.name->c_str(), 1e6 * (e.begin - first), 1e6 * e.seconds, e.work.flops, e.work.bytes);
    text += line;
  }
  return text + "\n]}\n";
}

}  // namespace fathom
