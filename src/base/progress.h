// One progress line on stderr for long work: done, rate, time left; a terminal sees it rewritten in place, a file sees a line
// every 10 s. And the request to stop: Ctrl-C (SIGINT, SIGTERM) sets a flag that long loops look at between steps.
#pragma once
#include <cstdint>
#include <string>

namespace fathom {

class Progress {
 public:
  Progress(std::string what, int64_t total, std::string unit);
  ~Progress();
  // `extra`: what else to show (loss, tokens/s).
  void update(int64_t done, const std::string& extra = "");
  void finish(const std::string& summary = "");

 private:
  std::string what_, unit_;
  int64_t total_, first_done_ = -1;
  double start_ = 0, last_ = 0;
  bool shown_ = false;
};

double now_seconds();                         // monotonic
std::string format_duration(double seconds);  // "2 min 5 s"
constexpr int64_t kMiB = 1 << 20;
std::string format_bytes(double bytes);  // "3.7 GiB"

// `notice` is printed at the first signal; the second one ends the process at once.
void install_stop_handler(const char* notice = "\nstopping after this step; again to stop at once\n");
bool stop_requested();
void clear_stop_request();

// A curve drawn with braille dots, `width` x `height` characters, with the axes' ends labelled. For terminals.
std::string draw_curve(const std::string& title, const double* x, const double* y, int64_t n, int width = 72, int height = 12);

}  // namespace fathom
