// What tests of conversions share: the fixtures' models, a conversion in one line, comparing what was written byte for byte.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/safetensors_testing.h"
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

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}
}  // namespace fathom
