// fathom info FILE.gguf: metadata, tensor types, and the model that they describe.
#pragma once
#include <string>

namespace fathom {
// Any well-formed GGUF file is described; where it holds a model that is supported, its figures are given too. Returns 0.
int print_gguf_info(const std::string& path, bool list_tensors, bool json_output);
}  // namespace fathom
