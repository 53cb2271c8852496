#include "checkpoint/gguf_metadata.h"

#include <cstring>
#include <limits>

#include "base/check.h"

namespace fathom {
namespace {

template <class T>
void append_number(std::string& to, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  to.append(bytes, sizeof(T));
}
void append_string(std::string& to, std::string_view text) {
  append_number<uint64_t>(to, text.size());
  to += text;
}
std::string array_head(GgufKind element, size_t count) {
  std::string bytes;
  append_number(bytes, static_cast<uint32_t>(element));
  append_number<uint64_t>(bytes, count);
  return bytes;
}

}  // namespace

void GgufMetadata::put(const std::string& key, GgufKind kind, std::string bytes) {
  CHECK(!has(key) && "metadata keys are unique");
  std::string value;
  append_number(value, static_cast<uint32_t>(kind));
  pairs_.emplace_back(key, value + bytes);
}

void GgufMetadata::u32(const std::string& key, int64_t value) {
  CHECK(value >= 0 && value <= std::numeric_limits<uint32_t>::max());
  std::string bytes;
  append_number(bytes, static_cast<uint32_t>(value));
  put(key, GgufKind::kU32, bytes);
}
void GgufMetadata::f32(const std::string& key, double value) {
  std::string bytes;
  append_number(bytes, static_cast<float>(value));
  put(key, GgufKind::kF32, bytes);
}
void GgufMetadata::boolean(const std::string& key, bool value) {
  put(key, GgufKind::kBool, std::string(1, value ? '\1' : '\0'));
}
void GgufMetadata::string(const std::string& key, std::string_view value) {
  std::string bytes;
  append_string(bytes, value);
  put(key, GgufKind::kString, bytes);
}
void GgufMetadata::strings(const std::string& key, const std::vector<std::string>& values) {
  std::string bytes = array_head(GgufKind::kString, values.size());
  for (const std::string& value : values) append_string(bytes, value);
  put(key, GgufKind::kArray, std::move(bytes));
}
void GgufMetadata::i32s(const std::string& key, const std::vector<int32_t>& values) {
  std::string bytes = array_head(GgufKind::kI32, values.size());
  for (const int32_t value : values) append_number(bytes, value);
  put(key, GgufKind::kArray, std::move(bytes));
}
void GgufMetadata::f32s(const std::string& key, const std::vector<float>& values) {
  std::string bytes = array_head(GgufKind::kF32, values.size());
  for (const float value : values) append_number(bytes, value);
  put(key, GgufKind::kArray, std::move(bytes));
}
void GgufMetadata::copy(const std::string& key, const GgufValue& value) {
  CHECK(!has(key) && "metadata keys are unique");
  pairs_.emplace_back(key, encoded_value(value));
}

bool GgufMetadata::has(const std::string& key) const {
  for (const auto& [name, value] : pairs_)
    if (name == key) return true;
  return false;
}
void GgufMetadata::append(const GgufMetadata& other) {
  for (const auto& pair : other.pairs_)
    if (!has(pair.first)) pairs_.push_back(pair);
}

std::string encoded_value(const GgufValue& value) {
  std::string bytes;
  append_number(bytes, static_cast<uint32_t>(value.kind));
  if (value.kind == GgufKind::kArray) bytes += array_head(value.element_kind, value.count);
  bytes.append(reinterpret_cast<const char*>(value.raw.data()), value.raw.size());
  return bytes;
}

}  // namespace fathom
