// Lines from standard input that Ctrl-C can interrupt at any moment. The signal handler writes to a pipe that is polled
// beside the input: an interrupt that comes just before the wait is not lost, whichever thread it is delivered to.
#pragma once
#include <string>

namespace fathom {

enum class Input { kLine, kInterrupted, kEnd };

class LineInput {
 public:
  LineInput();   // catches SIGINT from here on; one at a time
  ~LineInput();  // SIGINT as it was
  LineInput(const LineInput&) = delete;
  LineInput& operator=(const LineInput&) = delete;

  // One line without its line break. kInterrupted: Ctrl-C came while waiting; what was typed of the line is dropped.
  Input read(std::string& line);
  int interrupts() const;  // since the last forget_interrupts
  void forget_interrupts();

 private:
  std::string pending_;
  bool ended_ = false;
};

}  // namespace fathom
