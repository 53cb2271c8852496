#include "cli/line_input.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace fathom {
namespace {

volatile sig_atomic_t interrupt_count = 0;
int wake[2] = {-1, -1};  // what the handler writes to, and its other end
struct sigaction before;

void on_interrupt(int) {
  const int error = errno;
  interrupt_count = interrupt_count + 1;
  const char byte = 0;
  // A full pipe wakes as well as one more byte would.
  [[maybe_unused]] const ssize_t written = ::write(wake[1], &byte, 1);
  errno = error;
}

void drain() {
  char bytes[64];
  while (::read(wake[0], bytes, sizeof bytes) > 0) {
  }
}

}  // namespace

LineInput::LineInput() {
  CHECK(wake[0] < 0);
  if (::pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) fail("chat", std::string("cannot make a pipe: ") + std::strerror(errno));
  interrupt_count = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &before);
}

LineInput::~LineInput() {
  ::sigaction(SIGINT, &before, nullptr);
  ::close(wake[0]);
  ::close(wake[1]);
  wake[0] = wake[1] = -1;
}

Input LineInput::read(std::string& line) {
  for (;;) {
    if (const size_t at = pending_.find('\n'); at != std::string::npos) {
      line = pending_.substr(0, at);
      pending_.erase(0, at + 1);
      break;
    }
    if (ended_) {
      if (pending_.empty()) return Input::kEnd;
      line.swap(pending_);
      pending_.clear();
      break;
    }
    pollfd files[2] = {{wake[0], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (::poll(files, 2, -1) < 0) {
      if (errno == EINTR) continue;
      fail("chat", std::string("cannot wait for input: ") + std::strerror(errno));
    }
    if (files[0].revents) {
      drain();
      pending_.clear();
      return Input::kInterrupted;
    }
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (n > 0)
      pending_.append(bytes, static_cast<size_t>(n));
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
      ended_ = true;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return Input::kLine;
}

int LineInput::interrupts() const { return interrupt_count; }

void LineInput::forget_interrupts() {
  interrupt_count = 0;
  drain();
}

}  // namespace fathom
