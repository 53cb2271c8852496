#include "checkpoint/safetensors_shard.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

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

ShardPlan plan_shards(const std::vector<ShardEntry>& entries, int64_t shard_bytes) {
  ShardPlan plan;
  plan.shards.emplace_back();
  int64_t in_shard = 0;
  for (const ShardEntry& entry : entries) {
    if (!plan.shards.back().empty() && in_shard + entry.bytes() > shard_bytes) plan.shards.emplace_back(), in_shard = 0;
    plan.shards.back().push_back(entry);
    in_shard += entry.bytes();
    plan.total_bytes += entry.bytes();
  }
  for (auto& shard : plan.shards) sort_for_shard(shard);
  return plan;
}

std::string ShardPlan::file_name(size_t shard) const {
  if (shards.size() == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards.size());
  return name;
}

std::string ShardPlan::index_json() const {
  if (shards.size() == 1) return "";
  std::string entries;
  for (size_t i = 0; i < shards.size(); ++i)
    for (const ShardEntry& entry : shards[i])
      entries += (entries.empty() ? "" : ",\n    ") + Json(entry.name).dump() + ": \"" + file_name(i) + "\"";
  return "{\n  \"metadata\": {\"total_size\": " + std::to_string(total_bytes) + "},\n  \"weight_map\": {\n    " + entries +
         "\n  }\n}\n";
}

SafetensorsShard::SafetensorsShard(const std::string& path, const std::vector<ShardEntry>& entries,
                                   const std::map<std::string, std::string>& metadata)
    : file_(path) {
  const auto text = [&](const std::string& s) {
    if (first_invalid_utf8(s) >= 0) fail("safetensors", "cannot write '" + path + "': '" + printable(s) + "' is not UTF-8");
    return Json(s).dump();
  };
  std::string header = "{", separator;
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += separator + text(key) + ":" + text(value);
      separator = ",";
    }
    header += "}";
  }
  int64_t at = 0;
  std::set<std::string> seen;
  for (const ShardEntry& entry : entries) {
    CHECK(seen.insert(entry.name).second && "tensor names are unique");
    header += separator + text(entry.name) + ":{\"dtype\":\"" + std::string(dtype_name(entry.dtype)) + "\",\"shape\":[";
    for (size_t i = 0; i < entry.shape.size(); ++i) header += (i ? "," : "") + std::to_string(entry.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + entry.bytes()) + "]}";
    separator = ",";
    at += entry.bytes();
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');  // the data begins at a multiple of 8
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  file_.write(length, 8);
  file_.write(header.data(), static_cast<int64_t>(header.size()));
  expected_ = file_.written() + at;
}

uint32_t SafetensorsShard::commit() {
  CHECK(file_.written() == expected_);
  file_.commit();
  return file_.crc32();
}

}  // namespace fathom
