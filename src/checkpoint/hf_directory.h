// A Hugging Face directory as a model: config.json, safetensors (one file, or shards with an index), tokenizer files.
#pragma once
#include <memory>
#include <string>

#include "checkpoint/model_files.h"
#include "model/decoder.h"

namespace fathom {

// Loads every named tensor of the model, from a directory or (not for training) a GGUF file. A missing, superfluous or
// mis-shaped tensor, a lying index: Error that names the tensor, expected and found. `training`: F32 values; else values in the
// compute type, packed, raw values dropped.
Decoder load_model(const ModelFiles& files, const Numerics& numerics, bool training);
// Writes config.json, model.safetensors (values as `dtype`; e_score_correction_bias stays F32) and generation_config.json
// into `directory`, which exists; tokenizer files are copied from `tokenizer_directory` where not empty.
void save_model(Decoder& model, const std::string& directory, DType dtype, const std::string& tokenizer_directory);

}  // namespace fathom
