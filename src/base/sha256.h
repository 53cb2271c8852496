// SHA-256 (FIPS 180-4): names of things by their content.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace fathom {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256& add(std::span<const std::byte> bytes);
  template <class T>
  Sha256& add(const T* values, size_t count) {
    return add(std::as_bytes(std::span(values, count)));
  }
  Digest digest() const;  // of all bytes so far

 private:
  void compress(const uint8_t* block);
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> rest_ = {};
  uint64_t length_ = 0;  // bytes; length_ % 64 of them are in rest_
};
std::string hex(const Digest& digest);

}  // namespace fathom
