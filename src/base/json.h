// JSON from outside: nlohmann's SAX parser behind limits (size, depth), refusing duplicate keys and invalid UTF-8.
// Include only from .cpp files.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

extern template class nlohmann::basic_json<nlohmann::ordered_map>;  // compiled once, in json.cpp

namespace fathom {

using Json = nlohmann::ordered_json;

// Throws Error (usage) that names `source`, the line and the reason.
Json parse_json(std::string_view text, const std::string& source, int max_depth = 64);
Json read_json_file(const std::string& path);

}  // namespace fathom
