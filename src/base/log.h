// Log lines on stderr (stdout carries results); also into a run's log file once log_to_file was called.
#pragma once
#include <string>

namespace fathom {
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_to_file(const std::string& path);  // appends
void set_log_quiet(bool quiet);             // --quiet: only warnings on stderr
}  // namespace fathom
