#include "cli/result_lines.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace fathom {

ResultLines::ResultLines(const std::string& path)
    : path_(path), fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (fd_ < 0) fail_usage("generate", path + ": " + std::strerror(errno));
  try {
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      fail_usage("generate", path + ": another process writes to it; wait for it, or give another --output");
    auto file = MappedFile::open(path);
    const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    int64_t number = 0;
    size_t whole = 0;  // bytes of whole lines
    for (size_t end; (end = text.find('\n', whole)) != text.npos; whole = end + 1) {
      const std::string source = path + ":" + std::to_string(++number);
      Json json;
      try {
        json = parse_json(text.substr(whole, end - whole), source);
      } catch (const Error&) {
      }
      const bool is_result = json.is_object() && json.contains("line") && json["line"].is_number_integer() &&
                             json["line"].get<int64_t>() >= 1 && json.contains("id") &&
                             (json.contains("finish_reason") || json.contains("error"));
      if (!is_result) fail_usage("generate", source + ": no result of this command; give another --output");
      const int64_t line = json["line"].get<int64_t>();
      if (!before_.emplace(line, json["id"].dump()).second)
        fail_usage("generate", source + ": a second result for line " + std::to_string(line) + " of the input");
      num_failed_before_ += json.contains("error");
      last_line_ = std::max(last_line_, line);
    }
    const bool torn = whole < text.size();
    file.reset();
    if (torn) {
      log_info(path + ": the last line is torn: whoever wrote it was killed; it is made again");
      if (::ftruncate(fd_, static_cast<off_t>(whole)) != 0) fail("generate", path + ": " + std::strerror(errno));
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

ResultLines::~ResultLines() { ::close(fd_); }

void ResultLines::write(const Json& result) {
  const std::string line = result.dump() + "\n";
  for (size_t at = 0; at < line.size();) {
    const ssize_t n = ::write(fd_, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail("generate",
           path_ + ": " + std::strerror(errno) + "; the lines before are whole, the same command goes on from there");
    at += static_cast<size_t>(n);
  }
}

void ResultLines::sync() {
  if (::fdatasync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail("generate", path_ + ": " + std::strerror(errno));
}

}  // namespace fathom
