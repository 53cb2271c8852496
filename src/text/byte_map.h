// GPT-2's map between bytes and printable characters, in which vocabularies of byte-level BPE are written:
// 33-126, 161-172 and 174-255 stay, the other bytes become U+0100, U+0101, ... in rising order.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

char32_t byte_to_character(unsigned char byte);
std::string bytes_to_characters(std::string_view bytes);
// Nothing where a character lies outside the map.
std::optional<std::string> characters_to_bytes(std::string_view characters);

}  // namespace fathom
