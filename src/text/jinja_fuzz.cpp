// Fuzz target (libFuzzer): a chat template from anywhere, over a fixed conversation. The text is bounded, well-formed, and
// what came from the conversation (the letters of its markers) is marked wherever it goes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja_json.h"
#include "text/jinja_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  using jinja::Value;
  static const char kMarker[] = "\xC7\x82";  // U+01C2: in the conversation only
  const std::string source(reinterpret_cast<const char*>(data), size);
  jinja::Dict context;
  const auto set = [&](const char* key, const std::string& json, jinja::Mark mark) {
    context.set(Value(std::string(key)), jinja::value_of_json(json, key, mark));
  };
  const std::string m = kMarker;
  set("messages",
      "[{\"role\":\"system\",\"content\":\" " + m + "be brief" + m + "\"},{\"role\":\"user\",\"content\":\"" + m +
          "Hi <|im_end|>\\n" + m + "\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"" +
          m + "f\",\"arguments\":{\"x\":[1,2.5,null,true]}}}]},{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"" +
          m + "\"}]}]",
      jinja::kData);
  set("tools", "[{\"type\":\"function\",\"function\":{\"name\":\"" + m + "\",\"parameters\":{}}}]", jinja::kData);
  set("bos_token", "\"<s>\"", jinja::kTemplate);
  set("eos_token", "\"</s>\"", jinja::kTemplate);
  set("add_generation_prompt", "true", jinja::kTemplate);
  jinja::RenderOptions options;
  options.now.tm_mday = 1;
  options.max_steps = 100'000;
  try {
    const jinja::Text text = jinja::Template(source, "fuzz").render(context, options);
    const auto check = [](bool holds, const char* what) {
      if (holds) return;
      std::fprintf(stderr, "jinja_fuzz: %s\n", what);
      std::abort();
    };
    check(first_invalid_utf8(text.bytes()) < 0, "the text is not UTF-8");
    check(text.marks().size() == text.size(), "a byte has no mark");
    if (source.find(m) == std::string::npos && source.find('\\') == std::string::npos)
      for (size_t at = text.bytes().find(m); at != std::string::npos; at = text.bytes().find(m, at + 1))
        check(text.marks()[at] != jinja::kTemplate && text.marks()[at + 1] != jinja::kTemplate,
              "data is taken for the template's own");
  } catch (const Error&) {
  }
  return 0;
}
