// Which weights and which numerics a file of packed weights (checkpoint/packed_cache.h), or of kept prompts, belongs to.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_files.h"
#include "model/decoder.h"

namespace fathom {

// What a cache must say to be used.
struct PackedIdentity {
  std::string numerics;
  Compute compute = Compute::kF32;
  struct Source {
    std::string name;  // without its folder
    int64_t size = 0, mtime_ns = 0;
    uint64_t sample = 0;
    friend bool operator==(const Source&, const Source&) = default;
  };
  std::vector<Source> sources;  // the weights' files and config.json
};
PackedIdentity packed_identity(const ModelFiles& files, const Numerics& numerics);
// For keys and values kept on disk: what decides their bits, and which tokens a text is. The weights' files and the tokenizer's
// likewise, and the numerics with the cache's type. One line of text.
std::string stored_prefix_identity(const ModelFiles& files, const Numerics& numerics);
// `path` itself; where it is a folder, a file in it that bears the model's and the numerics' names.
std::string packed_cache_path(const std::string& path, const ModelFiles& files, const Numerics& numerics);

}  // namespace fathom
