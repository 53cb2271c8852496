// fathom info: what the files of a model hold. Include only from .cpp files (JSON).
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/safetensors.h"

namespace fathom {

struct FileContents {
  struct TensorLine {
    std::string name, type;
    std::vector<int64_t> shape;
    int64_t bytes;
    std::string file;
  };
  struct Metadata {
    std::string key, kind, shown;
    Json value;
  };
  std::string format;         // "safetensors", "gguf"
  uint32_t gguf_version = 0;  // 0: not GGUF
  size_t files = 0;
  int64_t elements = 0, bytes = 0;
  std::map<std::string, int64_t> bytes_by_dtype;
  std::vector<TensorLine> tensors;
  std::vector<Metadata> metadata;

  void add(const SafetensorsFile& file);
  void add(const GgufFile& file);
  Json to_json(bool list_tensors) const;
  void print(bool list_metadata) const;
  void print_tensors() const;

 private:
  void add_tensor(TensorLine line, int64_t elements);
};
// "F8_E4M3 626.0 GiB, BF16 15.2 GiB", the largest first.
std::string bytes_by_dtype_text(const std::map<std::string, int64_t>& bytes_by_dtype);

}  // namespace fathom
