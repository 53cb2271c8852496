// What tests of conversions share: the fixtures' models, a conversion in one line, comparing what was written byte for byte.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/safetensors.h"
#include "convert/quantize.h"

namespace fathom {

inline std::vector<std::string> model_folders() {
  std::vector<std::string> folders;
  if (!is_directory(models_folder())) return folders;
  for (const auto& name : list_directory(models_folder()))
    if (file_exists(models_folder() + "/" + name + "/config.json")) folders.push_back(models_folder() + "/" + name);
  return folders;
}
inline ConvertReport convert(const std::string& from, const std::string& to, ConvertOptions::Format format,
                             const std::string& dtype = "", int64_t shard_bytes = kShardBytes) {
  ConvertOptions options;
  options.from = from, options.to = to, options.format = format, options.dtype = dtype, options.shard_bytes = shard_bytes;
  return convert_model(options);
}
inline constexpr auto kHf = ConvertOptions::Format::kHuggingFace;
inline constexpr auto kGguf = ConvertOptions::Format::kGguf;

inline void expect_same_tensors(const std::string& a, const std::string& b) {
  const auto before = SafetensorsDirectory::open(a), after = SafetensorsDirectory::open(b);
  EXPECT_EQ(before.tensors().size(), after.tensors().size()) << b;
  for (const auto& [name, x] : before.tensors()) {
    const auto it = after.tensors().find(name);
    ASSERT_NE(it, after.tensors().end()) << b << " lacks " << name;
    const auto& y = it->second;
    ASSERT_EQ(x.entry->dtype, y.entry->dtype) << name;
    ASSERT_EQ(x.entry->shape, y.entry->shape) << name;
    const int64_t bytes = x.entry->end - x.entry->begin;
    ASSERT_EQ(std::memcmp(x.tensor().raw(), y.tensor().raw(), static_cast<size_t>(bytes)), 0) << a << " " << name;
  }
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}
}  // namespace fathom
