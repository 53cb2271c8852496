#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/terminal.h"

namespace fathom {
namespace {

struct Log {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> screen, file;
  bool quiet = false;
};
// Made at the first line (start-up stays short) and never destroyed (other statics may log while they end).
Log& log() {
  static Log* instance = [] {
    auto* made = new Log;
    made->screen = std::make_shared<spdlog::logger>("screen", std::make_shared<spdlog::sinks::stderr_sink_st>());
    made->screen->set_pattern("%v");
    return made;
  }();
  return *instance;
}

void write(spdlog::level::level_enum level, const std::string& message) {
  Log& l = log();
  std::lock_guard lock(l.mutex);
  const bool warning = level >= spdlog::level::warn;
  if (warning || !l.quiet) {
    wipe_progress_line();
    l.screen->log(level, warning ? "warning: " + message : message);
    l.screen->flush();
  }
  if (l.file) l.file->log(level, message);
}

}  // namespace

void log_info(const std::string& message) { write(spdlog::level::info, message); }
void log_warning(const std::string& message) { write(spdlog::level::warn, message); }
void log_to_file(const std::string& path) {
  Log& l = log();
  std::lock_guard lock(l.mutex);
  try {
    l.file = std::make_shared<spdlog::logger>("file", std::make_shared<spdlog::sinks::basic_file_sink_st>(path));
  } catch (const spdlog::spdlog_ex& e) {
    fail("log", "cannot write the log '" + path + "': " + e.what());
  }
  l.file->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  l.file->flush_on(spdlog::level::info);
}
void set_log_quiet(bool quiet) {
  std::lock_guard lock(log().mutex);
  log().quiet = quiet;
}

}  // namespace fathom
