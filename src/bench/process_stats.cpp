#include "bench/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace fathom {
namespace {

double status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(field, 0) == 0) return 1024.0 * std::stod(line.substr(field.size()));
  return 0;
}

// Of all processors: user nice system idle iowait irq softirq steal, in ticks.
void processor_seconds(double& busy, double& total) {
  std::ifstream stat("/proc/stat");
  std::string name;
  double ticks[8] = {};
  busy = total = 0;
  if (!(stat >> name)) return;
  for (double& t : ticks)
    if (!(stat >> t)) return;
  const double second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  for (const double t : ticks) total += t / second;
  busy = total - (ticks[3] + ticks[4]) / second;
}

double own_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

double peak_resident_bytes() { return status_bytes("VmHWM:"); }
double resident_bytes() { return status_bytes("VmRSS:"); }
void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

OthersLoad::OthersLoad() : own_(own_seconds()) { processor_seconds(busy_, total_); }

double OthersLoad::share() const {
  double busy, total;
  processor_seconds(busy, total);
  if (total <= total_) return 0;
  return std::clamp((busy - busy_ - (own_seconds() - own_)) / (total - total_), 0.0, 1.0);
}

}  // namespace fathom
