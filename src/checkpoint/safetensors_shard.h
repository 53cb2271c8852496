// Streams one safetensors file: the header first, then each tensor's bytes in order. Atomic; memory is what the caller writes.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/files.h"
#include "tensor/dtype.h"

namespace fathom {

struct ShardEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  int64_t bytes() const;
};
// The order in which a file must hold its tensors so that each is aligned: wide types first, otherwise as given.
void sort_for_shard(std::vector<ShardEntry>& entries);

// How the tensors of a model lie over files.
struct ShardPlan {
  std::vector<std::vector<ShardEntry>> shards;  // each in its file's order
  int64_t total_bytes = 0;
  std::string file_name(size_t shard) const;  // model.safetensors where it is the only one, else model-00001-of-00003...
  std::string index_json() const;             // model.safetensors.index.json; empty where there is one file
};
inline constexpr int64_t kShardBytes = int64_t{5} << 30;  // published checkpoints' habit
// Consecutive tensors up to `shard_bytes` of data each; one larger tensor has a file of its own.
ShardPlan plan_shards(const std::vector<ShardEntry>& entries, int64_t shard_bytes);

class SafetensorsShard {
 public:
  SafetensorsShard(const std::string& path, const std::vector<ShardEntry>& entries,
                   const std::map<std::string, std::string>& metadata);
  void write(const void* data, int64_t bytes) { file_.write(data, bytes); }
  uint32_t commit();  // CHECKs that every byte was written; the CRC-32 of the file

 private:
  AtomicFile file_;
  int64_t expected_ = 0;
};

}  // namespace fathom
