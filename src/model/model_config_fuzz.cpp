// libFuzzer: any bytes are a config.json that this program can build, or an Error; what was read is written as a config.json
// that reads back to the same.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fathom::ModelConfig;
  fathom::set_log_quiet(true);
  std::string written;
  try {
    written = ModelConfig::from_json_text(std::string(reinterpret_cast<const char*>(data), size), "fuzz").to_json_text();
  } catch (const fathom::Error&) {
    return 0;
  }
  if (ModelConfig::from_json_text(written, "again").to_json_text() != written) __builtin_trap();
  return 0;
}
