// Parsing and checking of a GGUF file.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "checkpoint/gguf_file.h"

namespace fathom {
namespace {

constexpr int kMaxNesting = 8;
constexpr uint32_t kMaxDims = 4;
constexpr size_t kMaxKey = 65535, kMaxName = 4096;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxElements = uint64_t{1} << 50;

// Bytes that a value of this kind takes at least; whole size where it is fixed.
uint64_t kind_bytes(GgufKind kind) {
  switch (kind) {
    case GgufKind::kU8:
    case GgufKind::kI8:
    case GgufKind::kBool:
      return 1;
    case GgufKind::kU16:
    case GgufKind::kI16:
      return 2;
    case GgufKind::kU32:
    case GgufKind::kI32:
    case GgufKind::kF32:
      return 4;
    case GgufKind::kString:
    case GgufKind::kU64:
    case GgufKind::kI64:
    case GgufKind::kF64:
      return 8;
    case GgufKind::kArray:
      return 12;
  }
  return 1;
}

class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& source) : bytes_(bytes), source_(source) {}
  size_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  [[noreturn]] void refuse(const std::string& field, const std::string& what) const {
    fail_usage("gguf", source_ + ": " + field + ": " + what);
  }
  std::span<const std::byte> take(uint64_t n, const std::string& field) {
    if (n > left())
      refuse(field, std::to_string(n) + " bytes are needed at byte " + std::to_string(at_) + ", " + std::to_string(left()) +
                        " are left; is the file cut?");
    const auto part = bytes_.subspan(at_, n);
    at_ += n;
    return part;
  }
  template <class T>
  T number(const std::string& field) {
    const auto part = take(sizeof(T), field);
    T value;
    std::memcpy(&value, part.data(), sizeof(T));
    return value;
  }
  std::string_view string(const std::string& field) {
    const uint64_t size = number<uint64_t>(field + ", length");
    if (size > left())
      refuse(field + ", length", std::to_string(size) + ", but only " + std::to_string(left()) + " bytes are left");
    const auto part = take(size, field);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  bool skip_string() {  // false, at the same place, where it is longer than what is left
    if (left() < sizeof(uint64_t)) return false;
    uint64_t size;
    std::memcpy(&size, bytes_.data() + at_, sizeof size);
    if (size > left() - sizeof size) return false;
    at_ += sizeof size + size;
    return true;
  }
  GgufKind kind(const std::string& field) {
    const uint32_t number_of = number<uint32_t>(field);
    if (number_of > static_cast<uint32_t>(GgufKind::kF64))
      refuse(field, std::to_string(number_of) + " is not known; known are 0 to 12");
    return static_cast<GgufKind>(number_of);
  }
  std::span<const std::byte> since(size_t begin) const { return bytes_.subspan(begin, at_ - begin); }

  // Walks over `count` elements; every count is checked against what is left before the walk.
  void skip_elements(GgufKind kind, uint64_t count, int depth, const std::string& field) {
    if (count > left() / kind_bytes(kind))
      refuse(field + ", number of elements",
             std::to_string(count) + ", but only " + std::to_string(left()) + " bytes are left");
    if (kind == GgufKind::kArray) {
      if (depth >= kMaxNesting) refuse(field, "arrays are nested more than " + std::to_string(kMaxNesting) + " deep");
      for (uint64_t i = 0; i < count; ++i) {
        const GgufKind inner = this->kind(field + ", type of elements");
        skip_elements(inner, number<uint64_t>(field + ", number of elements"), depth + 1, field);
      }
    } else if (kind == GgufKind::kString) {
      for (uint64_t i = 0; i < count; ++i)  // a vocabulary: the place is spelled out only where it is refused
        if (!skip_string()) string(field + ", element " + std::to_string(i));
    } else {
      take(count * kind_bytes(kind), field);
    }
  }

  GgufValue value(const std::string& field) {
    GgufValue v;
    v.kind = kind(field + ", type");
    size_t begin = at_;
    switch (v.kind) {
      case GgufKind::kU8:
        v.integer = number<uint8_t>(field);
        break;
      case GgufKind::kI8:
        v.integer = static_cast<uint64_t>(int64_t{number<int8_t>(field)});
        break;
      case GgufKind::kU16:
        v.integer = number<uint16_t>(field);
        break;
      case GgufKind::kI16:
        v.integer = static_cast<uint64_t>(int64_t{number<int16_t>(field)});
        break;
      case GgufKind::kU32:
        v.integer = number<uint32_t>(field);
        break;
      case GgufKind::kI32:
        v.integer = static_cast<uint64_t>(int64_t{number<int32_t>(field)});
        break;
      case GgufKind::kU64:
        v.integer = number<uint64_t>(field);
        break;
      case GgufKind::kI64:
        v.integer = static_cast<uint64_t>(number<int64_t>(field));
        break;
      case GgufKind::kF32:
        v.real = static_cast<double>(number<float>(field));
        break;
      case GgufKind::kF64:
        v.real = number<double>(field);
        break;
      case GgufKind::kBool:
        v.integer = number<uint8_t>(field);
        if (v.integer > 1) refuse(field, "a bool is 0 or 1, not " + std::to_string(v.integer));
        break;
      case GgufKind::kString:
        v.text = string(field);
        break;
      case GgufKind::kArray:
        v.element_kind = kind(field + ", type of elements");
        v.count = number<uint64_t>(field + ", number of elements");
        begin = at_;
        skip_elements(v.element_kind, v.count, 1, field);
        break;
    }
    v.raw = since(begin);
    return v;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& source_;
  size_t at_ = 0;
};

struct Ranged {
  int64_t begin, end;
  size_t index;
};

}  // namespace

GgufFile GgufFile::from_bytes(std::span<const std::byte> bytes, const std::string& source) {
  static_assert(std::endian::native == std::endian::little);
  Cursor in(bytes, source);
  GgufFile file;
  file.path_ = source;
  const auto magic = in.take(4, "magic");
  const std::string_view magic_text(reinterpret_cast<const char*>(magic.data()), 4);
  if (magic_text != "GGUF") in.refuse("magic", "'" + printable(magic_text) + "' instead of 'GGUF'; is this a GGUF file?");
  file.version_ = in.number<uint32_t>("version");
  if (file.version_ != 2 && file.version_ != 3)
    in.refuse("version", std::to_string(file.version_) + " is not read; 2 and 3 are (little-endian)");
  const uint64_t num_tensors = in.number<uint64_t>("tensor_count"), num_values = in.number<uint64_t>("metadata_kv_count");
  // A tensor's entry has at least 8 + 4 + 8 + 4 + 8 bytes, a metadata pair 8 + 4 + 1.
  if (num_tensors > in.left() / 32)
    in.refuse("tensor_count", std::to_string(num_tensors) + " tensors do not fit into the " + std::to_string(in.left()) +
                                  " bytes that are left");
  if (num_values > in.left() / 13)
    in.refuse("metadata_kv_count",
              std::to_string(num_values) + " values do not fit into the " + std::to_string(in.left()) + " bytes that are left");

  for (uint64_t i = 0; i < num_values; ++i) {
    const std::string where = "metadata " + std::to_string(i);
    const std::string_view key = in.string(where + ", key");
    if (key.empty() || key.size() > kMaxKey) in.refuse(where + ", key", "has " + std::to_string(key.size()) + " bytes");
    if (first_invalid_utf8(key) >= 0) in.refuse(where + ", key", "'" + printable(key) + "' is not UTF-8");
    const std::string name(key);
    if (!file.by_key_.emplace(name, file.metadata_.size()).second)
      in.refuse("metadata '" + printable(key) + "'", "stands in the file twice");
    file.metadata_.emplace_back(name, in.value("metadata '" + printable(key) + "'"));
  }
  if (const GgufValue* v = file.value("general.alignment")) {
    if (v->kind != GgufKind::kU32 && v->kind != GgufKind::kU64)
      in.refuse("general.alignment", std::string("is ") + gguf_kind_name(v->kind) + ", not u32");
    if (v->integer == 0 || v->integer > kMaxAlignment || !std::has_single_bit(v->integer))
      in.refuse("general.alignment", std::to_string(v->integer) + " is no power of two from 1 to 1048576");
    file.alignment_ = static_cast<int64_t>(v->integer);
  }

  for (uint64_t i = 0; i < num_tensors; ++i) {
    const std::string where = "tensor " + std::to_string(i);
    const std::string_view name = in.string(where + ", name");
    if (name.empty() || name.size() > kMaxName) in.refuse(where + ", name", "has " + std::to_string(name.size()) + " bytes");
    if (first_invalid_utf8(name) >= 0) in.refuse(where + ", name", "'" + printable(name) + "' is not UTF-8");
    const std::string tensor = "tensor '" + printable(name) + "'";
    Entry entry;
    entry.name = name;
    const uint32_t dims = in.number<uint32_t>(tensor + ", n_dims");
    if (dims > kMaxDims) in.refuse(tensor + ", n_dims", std::to_string(dims) + " is more than 4");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      const uint64_t size = in.number<uint64_t>(tensor + ", dims");
      if (size == 0 || size > kMaxElements || __builtin_mul_overflow(elements, size, &elements) || elements > kMaxElements)
        in.refuse(tensor + ", dims", std::to_string(size) + (size == 0 ? " is no size" : " gives more than 2^50 values"));
      entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(size));
    }
    if (entry.shape.empty()) entry.shape.push_back(1);
    const uint32_t type = in.number<uint32_t>(tensor + ", type");
    const GgmlTypeInfo* info = find_ggml_type(type);
    if (!info) in.refuse(tensor + ", type", std::to_string(type) + " is not known (or was withdrawn)");
    entry.type = info->type;
    if (entry.row_size() % info->block != 0)
      in.refuse(tensor + ", dims", "rows of " + std::to_string(entry.row_size()) + " values are no whole blocks of " +
                                       std::to_string(info->block) + " (" + info->name + ")");
    entry.bytes = static_cast<int64_t>(elements) / info->block * info->bytes;  // < 2^50 * 8
    const uint64_t offset = in.number<uint64_t>(tensor + ", offset");
    if (offset > static_cast<uint64_t>(bytes.size()))
      in.refuse(tensor + ", offset", std::to_string(offset) + " is behind the end of the file");
    if (offset % static_cast<uint64_t>(file.alignment_) != 0)
      in.refuse(tensor + ", offset",
                std::to_string(offset) + " is no multiple of general.alignment " + std::to_string(file.alignment_));
    entry.offset = static_cast<int64_t>(offset);
    if (!file.by_name_.emplace(entry.name, file.entries_.size()).second)
      in.refuse(tensor + ", name", "two tensors have this name");
    file.entries_.push_back(std::move(entry));
  }

  const size_t mask = static_cast<size_t>(file.alignment_) - 1;
  const size_t data_begin = std::min(bytes.size(), (in.at() + mask) & ~mask);
  file.parts_.push_back({nullptr, bytes.subspan(data_begin)});
  std::vector<Ranged> ranges;
  for (size_t i = 0; i < file.entries_.size(); ++i) {
    const Entry& entry = file.entries_[i];
    if (entry.offset > file.data_bytes() || entry.bytes > file.data_bytes() - entry.offset)
      in.refuse("tensor '" + printable(entry.name) + "', offset",
                "bytes " + std::to_string(entry.offset) + " to " + std::to_string(entry.offset + entry.bytes) +
                    " end after the file's " + std::to_string(file.data_bytes()) + " bytes of data; is the file cut?");
    ranges.push_back({entry.offset, entry.offset + entry.bytes, i});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Ranged& a, const Ranged& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      in.refuse(
          "tensor '" + printable(file.entries_[ranges[i].index].name) + "', offset",
          std::to_string(ranges[i].begin) + " lies inside tensor '" + printable(file.entries_[ranges[i - 1].index].name) + "'");
  return file;
}

GgufFile GgufFile::open_one(const std::string& path) {
  auto mapped = MappedFile::open(path);
  GgufFile file = from_bytes(mapped->bytes(), path);
  file.parts_[0].file = std::move(mapped);
  return file;
}

GgufFile GgufFile::open(const std::string& path) {
  GgufFile file = open_one(path);
  if (const int64_t count = file.integer("split.count").value_or(1); count > 1) file.add_parts(count);
  return file;
}

// llama.cpp's convention: split.no (from 0), split.count and split.tensors.count in every file; the names end in
// -00001-of-0000N.gguf.
void GgufFile::add_parts(int64_t count) {
  constexpr int64_t kMaxParts = 65535;  // both numbers are u16
  if (count > kMaxParts) refuse("split.count", std::to_string(count) + " is more than " + std::to_string(kMaxParts));
  const auto ending = [&](int64_t part) {
    char text[40];
    std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(part + 1), static_cast<long long>(count));
    return std::string(text);
  };
  const std::string first = ending(0);
  if (const int64_t no = integer("split.no").value_or(0); no != 0)
    refuse("split.no", "this is part " + std::to_string(no + 1) + " of " + std::to_string(count) +
                           "; give the first one, whose name ends in '" + first + "'");
  if (!path_.ends_with(first))
    refuse("split.count", "the model is split over " + std::to_string(count) +
                              " files, but the name of the first does not end in '" + first +
                              "', so the others cannot be found");
  const std::string stem = path_.substr(0, path_.size() - first.size());
  for (int64_t i = 1; i < count; ++i) {
    const std::string path = stem + ending(i);
    if (!file_exists(path))
      refuse("split.count",
             "the model is split over " + std::to_string(count) + " files, and '" + printable(path) + "' is missing");
    GgufFile part = open_one(path);
    for (const auto& [key, expected] : {std::pair{"split.no", i}, {"split.count", count}})
      if (const auto found = part.integer(key); found != expected)
        part.refuse(key, (found ? "is " + std::to_string(*found) : std::string("is missing")) + "; expected is " +
                             std::to_string(expected) + ", as a part of '" + printable(path_) + "'");
    for (Entry& entry : part.entries_) {
      if (!by_name_.emplace(entry.name, entries_.size()).second)
        part.refuse("tensor '" + printable(entry.name) + "', name", "stands in an earlier part too");
      entry.part = parts_.size();
      entries_.push_back(std::move(entry));
    }
    parts_.push_back(std::move(part.parts_[0]));
  }
  if (const auto total = integer("split.tensors.count"); total && *total != static_cast<int64_t>(entries_.size()))
    refuse("split.tensors.count", std::to_string(*total) + ", but the " + std::to_string(count) + " files hold " +
                                      std::to_string(entries_.size()) + " tensors");
}

}  // namespace fathom
