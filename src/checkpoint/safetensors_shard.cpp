#include "checkpoint/safetensors_shard.h"

#include <algorithm>

#include "base/check.h"
#include "base/json.h"

namespace fathom {

int64_t ShardEntry::bytes() const {
  int64_t n = dtype_bytes(dtype);
  for (const int64_t size : shape) n *= size;
  return n;
}

void sort_for_shard(std::vector<ShardEntry>& entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const ShardEntry& a, const ShardEntry& b) { return dtype_bytes(a.dtype) > dtype_bytes(b.dtype); });
}

SafetensorsShard::SafetensorsShard(const std::string& path, const std::vector<ShardEntry>& entries,
                                   const std::map<std::string, std::string>& metadata)
    : file_(path) {
  std::string header = "{", separator;
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += separator + Json(key).dump() + ":" + Json(value).dump();
      separator = ",";
    }
    header += "}";
  }
  int64_t at = 0;
  for (const ShardEntry& entry : entries) {
    header += separator + Json(entry.name).dump() + ":{\"dtype\":\"" + std::string(dtype_name(entry.dtype)) + "\",\"shape\":[";
    for (size_t i = 0; i < entry.shape.size(); ++i) header += (i ? "," : "") + std::to_string(entry.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + entry.bytes()) + "]}";
    separator = ",";
    at += entry.bytes();
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  file_.write(length, 8);
  file_.write(header.data(), static_cast<int64_t>(header.size()));
  expected_ = file_.written() + at;
}

void SafetensorsShard::commit() {
  CHECK(file_.written() == expected_);
  file_.commit();
}

}  // namespace fathom
