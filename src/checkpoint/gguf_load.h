// Reads the weights of a GGUF file into a model.
#pragma once
#include "checkpoint/gguf_model.h"
#include "model/decoder.h"

namespace fathom {
// For inference, to be packed; quantised tensors are expanded into the compute type, and one log line says so.
Decoder read_gguf_model(const GgufModel& source, const Numerics& numerics);
}  // namespace fathom
