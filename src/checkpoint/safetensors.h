// safetensors: bounded reader (memory-mapped) and streaming writer. Format: architecture.md §2.1.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "tensor/tensor.h"

namespace fathom {

// One file, mapped. Opening checks everything: header length, JSON, dtypes, shapes, products, offsets, overlaps, holes.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);
  // The same checks on bytes that the caller keeps alive.
  static SafetensorsFile from_bytes(std::span<const std::byte> bytes, const std::string& source);
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;  // any rank up to 8
    int64_t begin = 0, end = 0;  // bytes in the data area
  };
  const std::string& path() const { return path_; }
  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const Entry* find(const std::string& name) const;
  // rank <= 4; a view of the mapping: read only (a copy where the file is not aligned). The pages go back with its last copy.
  Tensor tensor(const Entry& entry) const;
  int64_t data_bytes() const { return static_cast<int64_t>(data_.size()); }

 private:
  std::string path_;
  std::shared_ptr<MappedFile> file_;
  std::span<const std::byte> data_;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};
std::string shape_text(const std::vector<int64_t>& shape);  // "[3, 64]"

// The tensors of a model directory: model.safetensors, or the shards that model.safetensors.index.json names.
// An index that names a missing shard or tensor, or leaves out a tensor of a shard, is refused.
class SafetensorsDirectory {
 public:
  static SafetensorsDirectory open(const std::string& directory);
  static bool exists(const std::string& directory);  // whether open() would find a file or an index to read
  struct Located {
    const SafetensorsFile* file = nullptr;
    const SafetensorsFile::Entry* entry = nullptr;
    Tensor tensor() const { return file->tensor(*entry); }
  };
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  const std::map<std::string, Located>& tensors() const { return tensors_; }

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Located> tensors_;
};

struct SafetensorsItem {
  std::string name;
  Tensor tensor;  // any row stride; written contiguous
  DType dtype;    // what is written: tensor.dtype(), or F32 <-> BF16
};
// Atomic; peak memory is one row. Items are written wide types first (so that each is aligned), otherwise in the given
// order. Returns the CRC-32 of the whole file.
uint32_t write_safetensors(const std::string& path, const std::vector<SafetensorsItem>& items,
                           const std::map<std::string, std::string>& metadata = {});
// The same as the weights of a model directory, which exists: model.safetensors, or shards of `shard_bytes` and their index.
// Each file is atomic; the index comes last, and what an earlier write left under other names goes after it.
void write_safetensors_directory(const std::string& directory, const std::vector<SafetensorsItem>& items,
                                 const std::map<std::string, std::string>& metadata, int64_t shard_bytes);

}  // namespace fathom
