// A sum over bytes for large files, at memory speed: finds damage, not forgery.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace fathom {

// Eight chains over the words, each step a bijection of its chain: no change of one word goes unseen. The same on every machine
// of this byte order.
uint64_t sum_bytes(const std::byte* p, int64_t bytes);
std::string sum_text(uint64_t sum);  // 16 hexadecimal digits

}  // namespace fathom
