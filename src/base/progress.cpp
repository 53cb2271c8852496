#include "base/progress.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/terminal.h"

namespace fathom {
namespace {

constexpr double kTerminalInterval = 0.1, kFileInterval = 10;  // seconds between two lines
std::atomic<bool> progress_line_shown{false};

std::string with_precision(double value) {  // 3 digits that matter: 0.0123, 1.23, 12.3, 123, 12345
  char text[32];
  const double size = std::fabs(value);
  const int decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// Cuts to `columns` characters (not bytes), so that a rewritten line never wraps.
std::string cut_to_columns(const std::string& text, int columns) {
  int shown = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    if (shown++ == columns) return text.substr(0, at);
  }
  return text;
}

}  // namespace

bool stderr_is_terminal() { return ::isatty(2) == 1; }
int terminal_columns() {
  winsize size{};
  return ::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}
void set_progress_line_shown(bool shown) { progress_line_shown = shown; }
void wipe_progress_line() {
  if (progress_line_shown.exchange(false)) std::fputs("\r\x1b[K", stderr);
}

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  if (seconds < 9.95) {
    char text[32];
    std::snprintf(text, sizeof text, seconds < 0.0995 ? "%.2f s" : "%.1f s", seconds);
    return text;
  }
  const int64_t s = std::llround(seconds);
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  if (s < 86400) return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
  return std::to_string(s / 86400) + " d " + std::to_string(s % 86400 / 3600) + " h";
}

std::string format_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  while (std::fabs(bytes) >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  char text[48];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]);
  return text;
}

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total), start_(now_seconds()), last_(start_ - kFileInterval) {}
Progress::~Progress() { wipe_progress_line(); }

void Progress::update(int64_t done, const std::string& extra) {
  const double now = now_seconds();
  if (first_done_ < 0) {  // a resumed job begins above 0: the rate counts what was done since
    first_done_ = done;
    start_ = now;
  }
  const bool terminal = stderr_is_terminal();
  const bool last = total_ > 0 && done >= total_;
  if (now - last_ < (terminal ? kTerminalInterval : kFileInterval) && !last) return;
  last_ = now;
  shown_ = true;

  std::string line = what_ + "  " + std::to_string(done);
  if (total_ > 0) line += "/" + std::to_string(total_);
  line += " " + unit_;
  if (total_ > 0) line += "  " + std::to_string(std::min<int64_t>(100, 100 * done / total_)) + " %";
  const double elapsed = now - start_;
  if (done > first_done_ && elapsed > 0) {
    const double rate = static_cast<double>(done - first_done_) / elapsed;
    line += "  " + (rate >= 0.1 ? with_precision(rate) + " " + unit_ + "/s" : format_duration(1 / rate) + " each");
    if (total_ > done) line += "  " + format_duration(static_cast<double>(total_ - done) / rate) + " left";
  }
  if (!extra.empty()) line += "  " + extra;
  if (terminal) {
    std::fprintf(stderr, "\r%s\x1b[K", cut_to_columns(line, terminal_columns() - 1).c_str());
    set_progress_line_shown(true);
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void Progress::finish(const std::string& summary) {
  wipe_progress_line();
  if (!summary.empty()) std::fprintf(stderr, "%s\n", summary.c_str());
  std::fflush(stderr);
  shown_ = false;
}

// --- the request to stop

namespace {
volatile sig_atomic_t stop_flag = 0;
const char* stop_notice = "";

void on_stop_signal(int signal) {
  if (stop_flag) {  // the second one: end as if nobody had caught it
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  stop_flag = 1;
  (void)!::write(2, stop_notice, std::strlen(stop_notice));
}
}  // namespace

void install_stop_handler(const char* notice) {
  stop_notice = notice;
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // reads and writes in progress go on
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}
bool stop_requested() { return stop_flag != 0; }
void clear_stop_request() { stop_flag = 0; }

}  // namespace fathom
