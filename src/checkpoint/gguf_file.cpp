#include "checkpoint/gguf_file.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

int64_t whole_element(GgufKind kind, const std::byte* p, uint64_t i) {
  switch (kind) {
    case GgufKind::kU8:
      return load<uint8_t>(p + i);
    case GgufKind::kI8:
      return load<int8_t>(p + i);
    case GgufKind::kU16:
      return load<uint16_t>(p + 2 * i);
    case GgufKind::kI16:
      return load<int16_t>(p + 2 * i);
    case GgufKind::kU32:
      return load<uint32_t>(p + 4 * i);
    case GgufKind::kI32:
      return load<int32_t>(p + 4 * i);
    default:
      return load<int64_t>(p + 8 * i);
  }
}
bool is_whole(GgufKind kind) { return kind <= GgufKind::kI32 || kind == GgufKind::kU64 || kind == GgufKind::kI64; }

}  // namespace

const char* gguf_kind_name(GgufKind kind) {
  constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                    "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(kind)];
}

bool GgufValue::is_integer() const { return is_whole(kind); }

int64_t GgufFile::Entry::rows() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
  return n;
}

std::vector<std::string> GgufFile::paths() const {
  std::vector<std::string> all;
  for (const Part& part : parts_) all.push_back(part.file ? part.file->path() : path_);
  return all;
}

int64_t GgufFile::data_bytes() const {
  int64_t n = 0;
  for (const Part& part : parts_) n += static_cast<int64_t>(part.data.size());
  return n;
}

void GgufFile::refuse(const std::string& field, const std::string& what) const {
  fail_usage("gguf", path_ + ": " + field + ": " + what);
}

const GgufFile::Entry* GgufFile::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[it->second];
}

const GgufValue* GgufFile::value(const std::string& key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &metadata_[it->second].second;
}

std::optional<int64_t> GgufFile::integer(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (!v->is_integer()) refuse(key, std::string("is ") + gguf_kind_name(v->kind) + ", not a whole number");
  if (v->kind == GgufKind::kU64 && v->integer > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(key, std::to_string(v->integer) + " is impossibly large");
  return static_cast<int64_t>(v->integer);
}

std::optional<double> GgufFile::number(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->is_integer()) return static_cast<double>(*integer(key));
  if (v->kind != GgufKind::kF32 && v->kind != GgufKind::kF64)
    refuse(key, std::string("is ") + gguf_kind_name(v->kind) + ", not a number");
  if (!std::isfinite(v->real)) refuse(key, "is not finite");
  // An f32 is taken as the decimal number that it was written from: 1e-6, not 9.99999997e-07.
  if (v->kind == GgufKind::kF32) {
    char text[32];
    std::snprintf(text, sizeof text, "%.7g", v->real);
    if (const double decimal = std::strtod(text, nullptr); static_cast<float>(decimal) == static_cast<float>(v->real))
      return decimal;
  }
  return v->real;
}

std::optional<bool> GgufFile::boolean(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::kBool) refuse(key, std::string("is ") + gguf_kind_name(v->kind) + ", not bool");
  return v->integer != 0;
}

std::optional<std::string> GgufFile::text(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::kString) refuse(key, std::string("is ") + gguf_kind_name(v->kind) + ", not a string");
  if (const int64_t at = first_invalid_utf8(v->text); at >= 0) refuse(key, "is not UTF-8 at byte " + std::to_string(at));
  return std::string(v->text);
}

std::optional<std::vector<std::string_view>> GgufFile::texts(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::kArray || v->element_kind != GgufKind::kString) refuse(key, "is no array of strings");
  std::vector<std::string_view> out;
  out.reserve(v->count);
  const std::byte* p = v->raw.data();
  for (uint64_t i = 0; i < v->count; ++i) {
    const uint64_t size = load<uint64_t>(p);
    out.emplace_back(reinterpret_cast<const char*>(p + 8), size);
    p += 8 + size;
  }
  return out;
}

std::optional<std::vector<int64_t>> GgufFile::integers(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::kArray || !is_whole(v->element_kind)) refuse(key, "is no array of whole numbers");
  std::vector<int64_t> out(v->count);
  for (uint64_t i = 0; i < v->count; ++i) out[i] = whole_element(v->element_kind, v->raw.data(), i);
  return out;
}

std::optional<std::vector<float>> GgufFile::floats(const std::string& key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::kArray || v->element_kind != GgufKind::kF32) refuse(key, "is no array of f32");
  std::vector<float> out(v->count);
  if (v->count > 0) std::memcpy(out.data(), v->raw.data(), v->count * 4);
  return out;
}

bool is_gguf_file(const std::string& path) {
  if (is_directory(path) || !file_exists(path)) return false;
  if (path.size() > 5 && path.compare(path.size() - 5, 5, ".gguf") == 0) return true;
  const auto mapped = MappedFile::open(path);
  return mapped->bytes().size() >= 4 && std::memcmp(mapped->bytes().data(), "GGUF", 4) == 0;
}

}  // namespace fathom
