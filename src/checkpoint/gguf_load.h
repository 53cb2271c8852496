// Loads the weights of a GGUF file into a model.
#pragma once
#include <string>

#include "model/decoder.h"

namespace fathom {
// For inference; quantised tensors are expanded into the compute type, and one log line says so.
Decoder load_gguf_model(const std::string& path, const Numerics& numerics);
}  // namespace fathom
