// Small GGUF files for tests, written by hand: one field can be made to lie.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/gguf_file.h"

namespace fathom {

class GgufBytes {
 public:
  template <class T>
  GgufBytes& number(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
    return *this;
  }
  GgufBytes& text(const std::string& s) {
    number<uint64_t>(s.size());
    bytes_ += s;
    return *this;
  }
  GgufBytes& raw(const std::string& s) {
    bytes_ += s;
    return *this;
  }
  GgufBytes& header(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    return raw("GGUF").number(version).number(tensors).number(values);
  }
  GgufBytes& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    text(name).number<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) number(d);
    return number(type).number(offset);
  }
  GgufBytes& align(size_t to = 32) {
    bytes_.append((to - bytes_.size() % to) % to, '\0');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }
  GgufFile parse() const { return GgufFile::from_bytes(std::as_bytes(std::span(bytes_.data(), bytes_.size())), "test"); }

 private:
  std::string bytes_;
};

}  // namespace fathom
