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
