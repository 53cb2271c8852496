#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "checkpoint/safetensors_shard.h"
#include "tensor/format/bf16.h"

namespace fathom {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference library
constexpr size_t kMaxRank = 8;

[[noreturn]] void refuse(const std::string& source, const std::string& field, const std::string& what) {
  fail_usage("safetensors", source + ": " + field + ": " + what);
}

const Json& member(const Json& object, const char* name, const std::string& source, const std::string& tensor) {
  const Json* value = object.find(name);
  if (!value) refuse(source, tensor, std::string("has no ") + name);
  return *value;
}

// A JSON number that is a whole one in [0, 2^62].
int64_t count_of(const Json& value, const std::string& source, const std::string& field) {
  if (!value.is_number_unsigned()) refuse(source, field, printable(value.dump(), 40) + " is no whole number from 0");
  const uint64_t n = value.get<uint64_t>();
  if (n > (uint64_t{1} << 62)) refuse(source, field, std::to_string(n) + " is impossibly large");
  return static_cast<int64_t>(n);
}

SafetensorsFile::Entry read_entry(const std::string& name, const Json& info, int64_t data_size, const std::string& source) {
  const std::string tensor = "tensor '" + printable(name) + "'";
  if (!info.is_object()) refuse(source, tensor, "is no object with dtype, shape and data_offsets");
  SafetensorsFile::Entry entry;
  entry.name = name;

  const Json& dtype = member(info, "dtype", source, tensor);
  if (!dtype.is_string()) refuse(source, tensor + ", dtype", printable(dtype.dump(), 40) + " is no text");
  const std::string& dtype_text = dtype.text();
  if (!dtype_from_name(dtype_text, &entry.dtype))
    refuse(
        source, tensor + ", dtype",
        "'" + printable(dtype_text, 40) + "' is not known; read are F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U8 BOOL");

  const Json& shape = member(info, "shape", source, tensor);
  if (!shape.is_array() || shape.size() > kMaxRank) refuse(source, tensor + ", shape", "is no list of at most 8 sizes");
  // Sizes of 0 count as 1 in the overflow check: no product of some of the sizes may wrap either.
  int64_t bytes = dtype_bytes(entry.dtype), bound = bytes;
  for (const Json& size : shape) {
    const int64_t n = count_of(size, source, tensor + ", shape");
    entry.shape.push_back(n);
    if (__builtin_mul_overflow(bound, std::max<int64_t>(n, 1), &bound))
      refuse(source, tensor + ", shape", "the product of the sizes overflows");
    bytes *= n;
  }

  const Json& offsets = member(info, "data_offsets", source, tensor);
  if (!offsets.is_array() || offsets.size() != 2) refuse(source, tensor + ", data_offsets", "is no list of two numbers");
  entry.begin = count_of(offsets[0], source, tensor + ", data_offsets");
  entry.end = count_of(offsets[1], source, tensor + ", data_offsets");
  const std::string range = "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
  if (entry.begin > entry.end) refuse(source, tensor + ", data_offsets", range + " ends before it begins");
  if (entry.end > data_size)
    refuse(source, tensor + ", data_offsets",
           range + " ends after the file's " + std::to_string(data_size) + " bytes of data; is the file cut?");
  if (entry.end - entry.begin != bytes)
    refuse(source, tensor + ", data_offsets",
           range + " holds " + std::to_string(entry.end - entry.begin) + " bytes, but dtype and shape " +
               shape_text(entry.shape) + " need " + std::to_string(bytes));
  return entry;
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

SafetensorsFile SafetensorsFile::from_bytes(std::span<const std::byte> bytes, const std::string& source) {
  if (bytes.size() < 8)
    refuse(source, "header length", "the file has " + std::to_string(bytes.size()) + " bytes; 8 are needed for it alone");
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<uint64_t>(bytes[static_cast<size_t>(i)]);
  if (header_size > kMaxHeader)
    refuse(source, "header length", std::to_string(header_size) + " is above the limit of 100000000");
  if (header_size > bytes.size() - 8)
    refuse(source, "header length",
           std::to_string(header_size) + ", but the file has only " + std::to_string(bytes.size() - 8) +
               " bytes after it; is it cut?");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  if (header.empty() || header[0] != '{') refuse(source, "header", "is no JSON object");
  const Json json = parse_json(header, source + ", header", 4);

  SafetensorsFile file;
  file.path_ = source;
  file.data_ = bytes.subspan(8 + header_size);
  const int64_t data_size = file.data_bytes();
  for (const auto& [name, info] : json.members()) {
    if (name == "__metadata__") {
      if (!info.is_object()) refuse(source, "__metadata__", "is no object of texts");
      for (const auto& [key, value] : info.members()) {
        if (!value.is_string()) refuse(source, "__metadata__, '" + printable(key) + "'", "is no text");
        file.metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    file.entries_.push_back(read_entry(name, info, data_size, source));
  }
  // Every byte of the data belongs to exactly one tensor.
  std::stable_sort(file.entries_.begin(), file.entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  int64_t covered = 0;
  for (size_t i = 0; i < file.entries_.size(); ++i) {
    const Entry& entry = file.entries_[i];
    if (entry.begin != covered)
      refuse(source, "tensor '" + printable(entry.name) + "', data_offsets",
             "begins at byte " + std::to_string(entry.begin) +
                 (entry.begin < covered ? ", inside the tensor before it" : ", after a hole") + "; byte " +
                 std::to_string(covered) + " is expected");
    covered = entry.end;
    file.by_name_[entry.name] = i;
  }
  if (covered != data_size)
    refuse(source, "data", std::to_string(data_size - covered) + " bytes after the last tensor belong to none");
  return file;
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto mapped = MappedFile::open(path);
  SafetensorsFile file = from_bytes(mapped->bytes(), path);
  file.file_ = std::move(mapped);
  return file;
}

const SafetensorsFile::Entry* SafetensorsFile::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[it->second];
}

Tensor SafetensorsFile::tensor(const Entry& entry) const {
  if (entry.shape.size() > Shape::kMaxRank)
    refuse(path_, "tensor '" + printable(entry.name) + "', shape",
           shape_text(entry.shape) + " has more than 4 sizes; such tensors are only listed");
  const Shape shape{std::span<const int64_t>(entry.shape)};
  const std::byte* from = data_.data() + entry.begin;
  if (reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(dtype_bytes(entry.dtype)) != 0) {
    Tensor copy = Tensor::empty(shape, entry.dtype);
    if (entry.end > entry.begin) std::memcpy(copy.raw(), from, static_cast<size_t>(entry.end - entry.begin));
    return copy;
  }
  return Tensor::wrap(const_cast<std::byte*>(from), shape, entry.dtype,
                      file_ ? file_->lend(from, entry.end - entry.begin) : nullptr);
}

namespace {

// One row in the written type.
void write_row(SafetensorsShard& file, const Tensor& tensor, int64_t row, DType dtype, std::vector<std::byte>& scratch) {
  const int64_t n = tensor.row_size();
  if (tensor.dtype() == dtype) {
    const int64_t size = dtype_bytes(dtype);
    file.write(tensor.raw() + row * tensor.row_stride() * size, n * size);
    return;
  }
  scratch.resize(static_cast<size_t>(n * dtype_bytes(dtype)));
  if (tensor.dtype() == DType::kF32 && dtype == DType::kBF16) {
    bf16* to = reinterpret_cast<bf16*>(scratch.data());
    for (int64_t i = 0; i < n; ++i) to[i] = to_bf16(tensor.row<float>(row)[i]);
  } else {
    CHECK(tensor.dtype() == DType::kBF16 && dtype == DType::kF32);
    float* to = reinterpret_cast<float*>(scratch.data());
    for (int64_t i = 0; i < n; ++i) to[i] = to_float(tensor.row<bf16>(row)[i]);
  }
  file.write(scratch.data(), static_cast<int64_t>(scratch.size()));
}

// The entries of `items`, and where each item is found again.
std::vector<ShardEntry> entries_of(const std::vector<SafetensorsItem>& items,
                                   std::map<std::string, const SafetensorsItem*>& by_name) {
  std::vector<ShardEntry> entries;
  for (const auto& item : items) {
    CHECK(item.tensor.defined());
    const auto dims = item.tensor.shape().dims();
    entries.push_back({item.name, item.dtype, {dims.begin(), dims.end()}});
    by_name[item.name] = &item;
  }
  return entries;
}

uint32_t write_file(const std::string& path, const std::vector<ShardEntry>& entries,
                    const std::map<std::string, const SafetensorsItem*>& by_name,
                    const std::map<std::string, std::string>& metadata) {
  SafetensorsShard shard(path, entries, metadata);
  std::vector<std::byte> scratch;
  for (const ShardEntry& entry : entries) {
    const Tensor& tensor = by_name.at(entry.name)->tensor;
    if (tensor.numel() == 0) continue;
    for (int64_t row = 0; row < tensor.rows(); ++row) write_row(shard, tensor, row, entry.dtype, scratch);
  }
  return shard.commit();
}

}  // namespace

uint32_t write_safetensors(const std::string& path, const std::vector<SafetensorsItem>& items,
                           const std::map<std::string, std::string>& metadata) {
  std::map<std::string, const SafetensorsItem*> by_name;
  std::vector<ShardEntry> entries = entries_of(items, by_name);
  sort_for_shard(entries);
  return write_file(path, entries, by_name, metadata);
}

void write_safetensors_directory(const std::string& directory, const std::vector<SafetensorsItem>& items,
                                 const std::map<std::string, std::string>& metadata, int64_t shard_bytes) {
  std::map<std::string, const SafetensorsItem*> by_name;
  const ShardPlan plan = plan_shards(entries_of(items, by_name), shard_bytes);
  std::set<std::string> written;
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    written.insert(plan.file_name(i));
    write_file(directory + "/" + plan.file_name(i), plan.shards[i], by_name, metadata);
  }
  const std::string index_name = "model.safetensors.index.json";
  if (const std::string index = plan.index_json(); !index.empty()) {
    write_file_atomic(directory + "/" + index_name, index);
    written.insert(index_name);
  }
  for (const std::string& name : list_directory(directory))
    if (name.starts_with("model") && (name.ends_with(".safetensors") || name == index_name) && !written.count(name))
      remove_tree(directory + "/" + name);
}

}  // namespace fathom
