#include "cli/measured_machine.h"

#include <cmath>
#include <cstdlib>
#include <ctime>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/machine.h"

namespace fathom {
namespace {

constexpr int kVersion = 1;

Json this_machine() {
  return {{"version", kVersion}, {"host", host_name()}, {"processor", processor_name()}, {"processors", num_processors()}};
}

}  // namespace

std::string measurement_path() {
  const auto folder = [](const char* variable) {  // relative paths are to be ignored (XDG base directory specification)
    const char* value = std::getenv(variable);
    return value && value[0] == '/' ? std::string(value) : std::string();
  };
  std::string cache = folder("XDG_CACHE_HOME");
  if (cache.empty() && !folder("HOME").empty()) cache = folder("HOME") + "/.cache";
  if (cache.empty()) return "";
  std::string host = host_name();
  for (char& c : host)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return cache + "/fathom/doctor-" + host + ".json";
}

void keep_measurement(const MachineMeasurement& m) {
  const std::string path = measurement_path();
  if (path.empty()) fail("doctor", "neither XDG_CACHE_HOME nor HOME names a folder");
  Json json = this_machine();
  json["threads"] = m.threads;
  json["read_bytes_per_second"] = m.read_bytes_per_second;
  json["date"] = m.date;
  make_directories(path.substr(0, path.rfind('/')));
  write_file_atomic(path, json.dump(2) + "\n");
}

std::optional<MachineMeasurement> kept_measurement(std::string* why_not) {
  const std::string path = measurement_path();
  if (path.empty() || !file_exists(path)) {
    *why_not = "not measured yet";
    return std::nullopt;
  }
  try {
    const Json json = read_json_file(path), here = this_machine();
    for (const auto& [key, value] : here.members())
      if (!json.is_object() || !json.contains(key) || json.at(key) != value) {
        *why_not = "measured on another machine, or by another version";
        return std::nullopt;
      }
    MachineMeasurement m;
    m.threads = json.at("threads").get<int>();
    m.read_bytes_per_second = json.at("read_bytes_per_second").get<double>();
    m.date = json.at("date").get<std::string>();
    if (m.threads >= 1 && std::isfinite(m.read_bytes_per_second) && m.read_bytes_per_second > 0) return m;
  } catch (const Error&) {
  } catch (const JsonError&) {
  }
  *why_not = "the measurement kept in " + path + " is damaged";
  return std::nullopt;
}

std::string today_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

}  // namespace fathom
