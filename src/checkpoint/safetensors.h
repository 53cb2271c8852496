// safetensors: bounded reader (memory-mapped) and streaming writer. Format: architecture.md §2.1.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "tensor/tensor.h"

namespace fathom {

// One file, mapped. Opening checks everything: header length, JSON, dtypes, shapes, products, offsets, overlaps, holes.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;  // any rank up to 8
    int64_t begin = 0, end = 0;  // bytes in the data area
  };
  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const Entry* find(const std::string& name) const;
  Tensor tensor(const Entry& entry) const;  // a view of the mapping (rank <= 4)

 private:
  std::shared_ptr<MappedFile> file_;
  int64_t data_begin_ = 0;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

struct SafetensorsItem {
  std::string name;
  Tensor tensor;              // any row stride; written contiguous
  DType dtype;                // what is written: tensor.dtype(), or F32 <-> BF16
};
// Atomic; peak memory is one tensor. Returns the CRC-32 of the whole file.
uint32_t write_safetensors(const std::string& path, const std::vector<SafetensorsItem>& items, const std::map<std::string, std::string>& metadata = {});

}  // namespace fathom
