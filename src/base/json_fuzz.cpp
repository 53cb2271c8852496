// libFuzzer: any bytes are JSON or an Error; what was read can be written, and reads back to the same value.
#include "base/error.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const fathom::Json value = fathom::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (fathom::parse_json(value.dump(), "again") != value) __builtin_trap();
  } catch (const fathom::Error&) {
  }
  return 0;
}
