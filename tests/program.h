// Running the built program as its user does: arguments, exit code, what it printed; and killing it.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/test_folder.h"
#include "base/test_paths.h"

namespace fathom {

class Program {
 public:
  // Output goes to files in `folder`. `prepare` runs in the child before the program does.
  Program(const std::string& folder, const std::vector<std::string>& arguments, const std::function<void()>& prepare = nullptr)
      : out_(folder + "/stdout.txt"), err_(folder + "/stderr.txt") {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::setenv("FATHOM_THREADS", "1", 0);  // small models: a barrier costs more than it brings
    redirect(out_, 1);
    redirect(err_, 2);
    std::vector<char*> argv = {const_cast<char*>(kProgram)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    if (prepare) prepare();
    ::execv(kProgram, argv.data());
    ::_exit(127);
  }
  ~Program() {
    if (running()) send(SIGKILL), wait();
  }
  bool running() {
    if (done_) return false;
    done_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
    return !done_;
  }
  // The exit code, as wait(); `bytes` becomes the most anonymous memory seen (RssAnon, sampled every millisecond): mapped pages
  // of files do not count.
  int wait_and_watch(int64_t* bytes) {
    const std::string status = "/proc/" + std::to_string(pid_) + "/status";
    for (*bytes = 0; running(); ::usleep(1000))
      if (std::FILE* file = std::fopen(status.c_str(), "r")) {
        char line[256];
        long long kib = 0;
        while (std::fgets(line, sizeof line, file))
          if (std::sscanf(line, "RssAnon: %lld kB", &kib) == 1) *bytes = std::max<int64_t>(*bytes, kib * 1024);
        std::fclose(file);
      }
    return wait();
  }
  int wait() {  // the exit code; 128 + signal
    if (!done_) ::waitpid(pid_, &status_, 0);
    done_ = true;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }
  void send(int signal) { ::kill(pid_, signal); }
  std::string out() const { return read_file(out_); }
  std::string err() const { return read_file(err_); }

 private:
  static void redirect(const std::string& path, int to) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(fd, to);
  }
  std::string out_, err_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool done_ = false;
};

// For Program: no file may grow beyond `bytes`, and writing more fails as on a full disk.
inline std::function<void()> file_size_limit(rlim_t bytes) {
  return [bytes] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
}

// For Program: a user who may not write where root may. Nothing changes where the caller is no root.
inline void become_nobody() {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) ::_exit(126);
}

}  // namespace fathom
