// Metadata to be written into a GGUF file: keys in order, each with its encoded value.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/gguf_file.h"

namespace fathom {

class GgufMetadata {
 public:
  void u32(const std::string& key, int64_t value);  // CHECKs the range
  void f32(const std::string& key, double value);
  void boolean(const std::string& key, bool value);
  void string(const std::string& key, std::string_view value);
  void strings(const std::string& key, const std::vector<std::string>& values);
  void i32s(const std::string& key, const std::vector<int32_t>& values);
  void f32s(const std::string& key, const std::vector<float>& values);
  void copy(const std::string& key, const GgufValue& value);  // as it stands in a file
  bool has(const std::string& key) const;
  void append(const GgufMetadata& other);  // keys that are not here yet

  // Type and value of each key, as the file holds them.
  const std::vector<std::pair<std::string, std::string>>& pairs() const { return pairs_; }

 private:
  void put(const std::string& key, GgufKind kind, std::string bytes);
  std::vector<std::pair<std::string, std::string>> pairs_;
};
// The same encoding of a value that was read, to be compared with pairs().
std::string encoded_value(const GgufValue& value);

}  // namespace fathom
