// A GGUF file, v2 or v3, whole or split over several: memory-mapped, bounded reader. Format: architecture.md §2.7.
// Opening checks everything: counts against the bytes left, nesting, UTF-8, names, sizes, products, alignment, overlaps.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "tensor/format/ggml_type.h"

namespace fathom {

enum class GgufKind : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
const char* gguf_kind_name(GgufKind kind);

// A metadata value; strings and arrays are views of the file.
struct GgufValue {
  GgufKind kind = GgufKind::kU8;
  uint64_t integer = 0;  // of whole numbers and bool, sign-extended to 64 bits
  double real = 0;       // of f32 and f64
  std::string_view text;
  GgufKind element_kind = GgufKind::kU8;  // of an array, with its number of elements
  uint64_t count = 0;
  std::span<const std::byte> raw;  // the value as it stands in the file; of an array without its type and count

  bool is_integer() const;
  bool is_signed() const {
    return kind == GgufKind::kI8 || kind == GgufKind::kI16 || kind == GgufKind::kI32 || kind == GgufKind::kI64;
  }
};

class GgufFile {
 public:
  // Of a split model (split.count, -00001-of-0000N.gguf) the first file, which finds the others beside it; the metadata are
  // the first one's, the tensors all files'. Error (usage) that names the file which is missing or is no part of it.
  static GgufFile open(const std::string& path);
  // The same checks on bytes that the caller keeps alive.
  static GgufFile from_bytes(std::span<const std::byte> bytes, const std::string& source);

  struct Entry {
    std::string name;
    GgmlType type;
    std::vector<int64_t> shape;     // outermost first, as in safetensors; a scalar is [1]
    int64_t offset = 0, bytes = 0;  // in the data area of its file
    size_t part = 0;                // which file
    int64_t rows() const;           // product of all sizes but the innermost
    int64_t row_size() const { return shape.back(); }
    int64_t row_bytes() const { return ggml_row_bytes(type, row_size()); }
    int64_t elements() const { return rows() * row_size(); }
  };
  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  int64_t alignment() const { return alignment_; }
  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const Entry* find(const std::string& name) const;
  const std::byte* data(const Entry& entry) const { return parts_[entry.part].data.data() + entry.offset; }
  // What a view of these bytes of `entry` holds (MappedFile::lend); null for from_bytes().
  std::shared_ptr<void> lend(const Entry& entry, const std::byte* begin, int64_t bytes) const {
    const auto& file = parts_[entry.part].file;
    return file ? file->lend(begin, bytes) : nullptr;
  }
  std::vector<std::string> paths() const;  // of all files
  size_t num_parts() const { return parts_.size(); }
  int64_t data_bytes() const;  // of all files

  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  const GgufValue* value(const std::string& key) const;
  // Typed access. Error (usage) naming the key where the value has another type or range; nothing where there is none.
  std::optional<int64_t> integer(const std::string& key) const;  // any whole type that fits
  std::optional<double> number(const std::string& key) const;    // any number
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  std::optional<std::vector<std::string_view>> texts(const std::string& key) const;
  std::optional<std::vector<int64_t>> integers(const std::string& key) const;  // array of whole numbers
  std::optional<std::vector<float>> floats(const std::string& key) const;
  [[noreturn]] void refuse(const std::string& field, const std::string& what) const;

 private:
  static GgufFile open_one(const std::string& path);
  void add_parts(int64_t count);
  struct Part {
    std::shared_ptr<MappedFile> file;  // null for from_bytes()
    std::span<const std::byte> data;
  };
  std::string path_;
  std::vector<Part> parts_;
  uint32_t version_ = 0;
  int64_t alignment_ = 32;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> by_name_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::map<std::string, size_t> by_key_;
};

bool is_gguf_file(const std::string& path);  // a plain file that begins with the magic, or whose name ends in .gguf

}  // namespace fathom
