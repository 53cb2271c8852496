// What `fathom doctor` measured last on this machine, kept in a small file so that `fathom info` can tell speeds at once.
#pragma once
#include <optional>
#include <string>

namespace fathom {

struct MachineMeasurement {
  double read_bytes_per_second = 0;  // from memory, `threads` threads together
  int threads = 0;
  std::string date;  // UTC, "2026-11-29"
};
// $XDG_CACHE_HOME/fathom/doctor-HOST.json, else ~/.cache/fathom/…; empty where the environment names neither folder.
std::string measurement_path();
// Written whole or not at all, with the machine's host name, processor and number of processors. Error where it cannot be.
void keep_measurement(const MachineMeasurement& measurement);
// Of this very machine and version of the file, else nothing, and `why_not` says why.
std::optional<MachineMeasurement> kept_measurement(std::string* why_not);
std::string today_utc();

}  // namespace fathom
