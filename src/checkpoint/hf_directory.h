// A Hugging Face directory as a model: config.json, safetensors (one file, or shards with an index), tokenizer files.
#pragma once
#include <memory>
#include <string>

#include "checkpoint/model_files.h"
#include "checkpoint/safetensors_shard.h"
#include "model/decoder.h"

namespace fathom {

// Where the time of a load went; packing reads most of the file, so that its pages come in there.
struct LoadTimes {
  double seconds = 0, packing_seconds = 0;  // the whole load; what of it is packing
};
// Loads every named tensor of the model, from a directory or (not for training) a GGUF file. A missing, superfluous or
// mis-shaped tensor, a lying index: Error that names the tensor, expected and found. `training`: F32 values; else the
// weights are packed out of the mapped file in the compute type: one copy of them is made.
// `packed_cache` (inference): a file, or a folder for one, that keeps the packed weights from load to load (packed_cache.h).
// One that cannot be used is named with the reason on stderr and written anew; one that cannot be written is a warning.
Decoder load_model(const ModelFiles& files, const Numerics& numerics, bool training, LoadTimes* times = nullptr,
                   const std::string& packed_cache = "");
// Writes config.json, the weights (values as `dtype`; e_score_correction_bias stays F32; model.safetensors, or shards of
// `shard_bytes` with an index) and generation_config.json into `directory`, which exists; tokenizer files are copied from
// `tokenizer_directory` where not empty. Memory: one row.
void save_model(Decoder& model, const std::string& directory, DType dtype, const std::string& tokenizer_directory,
                int64_t shard_bytes = kShardBytes);

}  // namespace fathom
