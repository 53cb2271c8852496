// Time by name for FATHOM_PROFILE=1 (wall) or =cpu (the calling thread's processor time: with one thread, what the work costs
// on a machine that others use too). Nested scopes are counted in both.
#pragma once
#include <string>
#include <vector>

namespace fathom {

bool profile_enabled();
void profile_enable(bool on);
void profile_reset();
struct ProfileRow {
  std::string name;
  double seconds = 0;
  long calls = 0;
};
std::vector<ProfileRow> profile_rows();  // largest first
std::string profile_table();

class ProfileScope {
 public:
  explicit ProfileScope(const char* name) : name_(profile_enabled() ? name : nullptr) {
    if (name_) start();
  }
  ~ProfileScope() {
    if (name_) stop();
  }

 private:
  void start();
  void stop();
  const char* name_;
  double begin_ = 0;
};

}  // namespace fathom
