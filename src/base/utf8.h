// Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF), and printable messages.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

// Byte offset of the first ill-formed sequence; -1 where all is well.
int64_t first_invalid_utf8(std::string_view text);
// For error messages: control characters and ill-formed bytes as \xNN, cut after `max_bytes` with "…".
std::string printable(std::string_view text, size_t max_bytes = 120);

}  // namespace fathom
