// libFuzzer: any bytes are a recipe or an Error; what was read is written as YAML that reads back to the same.
#include "base/config.h"
#include "base/error.h"

namespace {

struct Section {
  double real = 1;
  int64_t whole = 2;
  std::vector<double> reals;
  void fields(fathom::ConfigFields& f) {
    f.field("real", real, "", -1e9, 1e9);
    f.field("whole", whole, "");
    f.field("reals", reals, "");
  }
};
struct Recipe {
  std::string text = "a";
  bool flag = false;
  std::vector<std::string> texts;
  Section section;
  void fields(fathom::ConfigFields& f) {
    f.field("text", text, "");
    f.field("flag", flag, "");
    f.field("texts", texts, "");
    f.section("section", section, "");
  }
};
std::string read(const std::string& yaml) {
  Recipe recipe;
  const fathom::ConfigBody body = [&](fathom::ConfigFields& f) { recipe.fields(f); };
  fathom::read_config_text(yaml, "fuzz", {}, body);
  return fathom::config_to_yaml(body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string written;
  try {
    written = read(std::string(reinterpret_cast<const char*>(data), size));
  } catch (const fathom::Error&) {
    return 0;
  }
  if (read(written) != written) __builtin_trap();
  return 0;
}
