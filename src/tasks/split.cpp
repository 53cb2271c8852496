#include "tasks/split.h"

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {

bool is_test_problem(const std::string& key) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a, then the finaliser of MurmurHash3: FNV's low bits are weak
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  hash = (hash ^ hash >> 33) * 0xFF51AFD7ED558CCDu;
  hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53u;
  return (hash ^ hash >> 33) % 10 == 0;
}

void check_split(const std::string& split) {
  if (split != "train" && split != "test") fail_usage("task", "no split '" + printable(split) + "'; there are train and test");
}

void fail_no_problem(const std::string& task, const std::string& split) {
  fail_usage("task", task + ": these options leave no problem in split " + split + "; widen them");
}

}  // namespace fathom
