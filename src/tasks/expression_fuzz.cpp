// Fuzz target (libFuzzer): any bytes as a Countdown answer, and as a model's whole output.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tasks/expression.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const fathom::Verdict verdict =
      fathom::judge_expression(input, {"3", "7", "9", "340282366920938463463374607431768211"}, "30");
  const fathom::ExtractedAnswer answer = fathom::extract_answer(input, size % 2 == 0);
  if (verdict.reason.empty() || answer.reason.empty() || (verdict.reason == "ok") != verdict.correct ||
      (answer.format_ok && !answer.found)) {
    std::fprintf(stderr, "expression_fuzz: verdict '%s', answer '%s'\n", verdict.reason.c_str(), answer.reason.c_str());
    std::abort();
  }
  return 0;
}
