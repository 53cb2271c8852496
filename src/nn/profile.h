// Time by name for FATHOM_PROFILE=1 (wall) or =cpu (the calling thread's processor time: with one thread, what the work costs
// on a machine that others use too), and for the benchmarks. Scopes nest: `seconds` holds what is inside too, `self_seconds`
// does not, so that the selves add up to the whole.
#pragma once
#include <string>
#include <vector>

namespace fathom {

bool profile_enabled();
void profile_enable(bool on);
void profile_trace(bool on);  // every scope is also kept as an event, in order, for profile_trace_json()
void profile_reset();
// What a scope had to do, where that is known: operations (a multiply-add is two), bytes read that are not reused.
struct ProfileWork {
  double flops = 0, bytes = 0;
};
struct ProfileRow {
  std::string name;
  double seconds = 0, self_seconds = 0;
  long calls = 0;
  ProfileWork work;
};
std::vector<ProfileRow> profile_rows();  // largest self_seconds first
// A line a name: calls, time, self time and its share, TFLOP/s and GB/s where known; per call of `unit` where that is not null
// (the name of the scope around all others), which then is the whole.
std::string profile_table(const char* unit = nullptr);
std::string profile_trace_json();  // Chrome's trace events (chrome://tracing, ui.perfetto.dev)

class ProfileScope {
 public:
  explicit ProfileScope(const char* name, ProfileWork work = {}) : name_(profile_enabled() ? name : nullptr), work_(work) {
    if (name_) start();
  }
  ~ProfileScope() {
    if (name_) stop();
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  void start();
  void stop();
  const char* name_;
  ProfileWork work_;
  double begin_ = 0, outer_children_ = 0;
};

}  // namespace fathom
