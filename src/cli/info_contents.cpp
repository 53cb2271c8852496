#include "cli/info_contents.h"

#include <algorithm>
#include <cstdio>

#include "base/progress.h"
#include "base/utf8.h"
#include "cli/number_text.h"

namespace fathom {
namespace {

constexpr size_t kShown = 60;  // bytes of a text on the screen

std::string shown(const GgufValue& v) {
  if (v.kind == GgufKind::kString) return "\"" + printable(v.text, kShown) + "\"";
  if (v.kind == GgufKind::kBool) return v.integer ? "true" : "false";
  if (v.kind == GgufKind::kArray) return with_commas(static_cast<int64_t>(v.count)) + " x " + gguf_kind_name(v.element_kind);
  if (v.is_signed()) return std::to_string(static_cast<int64_t>(v.integer));
  if (v.is_integer()) return std::to_string(v.integer);
  char text[32];
  std::snprintf(text, sizeof text, "%.7g", v.real);
  return text;
}
Json value_json(const GgufValue& v) {
  if (v.kind == GgufKind::kString) return printable(v.text, 1 << 20);
  if (v.kind == GgufKind::kBool) return v.integer != 0;
  if (v.kind == GgufKind::kArray) return {{"elements", gguf_kind_name(v.element_kind)}, {"count", v.count}};
  if (v.is_signed()) return static_cast<int64_t>(v.integer);
  if (v.is_integer()) return v.integer;
  return v.real;
}

}  // namespace

void FileContents::add_tensor(TensorLine line, int64_t count) {
  bytes_by_dtype[line.type] += line.bytes;
  bytes += line.bytes;
  elements += count;
  tensors.push_back(std::move(line));
}

void FileContents::add(const SafetensorsFile& file) {
  format = "safetensors";
  ++files;
  for (const auto& entry : file.entries()) {
    const int64_t size = entry.end - entry.begin;
    add_tensor({entry.name, std::string(dtype_name(entry.dtype)), entry.shape, size, file.path()},
               size / dtype_bytes(entry.dtype));
  }
  for (const auto& [key, value] : file.metadata()) {
    const auto same_key = [&key = key](const Metadata& m) { return m.key == key; };
    if (std::none_of(metadata.begin(), metadata.end(), same_key))
      metadata.push_back({key, "string", "\"" + printable(value, kShown) + "\"", value});
  }
}

void FileContents::add(const GgufFile& file) {
  format = "gguf";
  gguf_version = file.version();
  ++files;
  for (const auto& entry : file.entries())
    add_tensor({entry.name, ggml_type_info(entry.type).name, entry.shape, entry.bytes, file.path()}, entry.elements());
  for (const auto& [key, value] : file.metadata())
    metadata.push_back({key, gguf_kind_name(value.kind), shown(value), value_json(value)});
}

Json FileContents::to_json(bool list_tensors) const {
  Json json = {{"format", format}};
  if (gguf_version > 0) json["version"] = gguf_version;
  json["files"] = files;
  json["tensors_count"] = tensors.size();
  json["elements"] = elements;
  json["data_bytes"] = bytes;
  json["bytes_by_dtype"] = Json::object();
  for (const auto& [dtype, n] : bytes_by_dtype) json["bytes_by_dtype"][dtype] = n;
  json["metadata"] = Json::object();
  for (const Metadata& m : metadata) json["metadata"][m.key] = m.value;
  if (list_tensors) {
    json["tensors"] = Json::array();
    for (const TensorLine& t : tensors)
      json["tensors"].push_back(
          {{"name", t.name}, {"dtype", t.type}, {"shape", t.shape}, {"bytes", t.bytes}, {"file", t.file}});
  }
  return json;
}

std::string bytes_by_dtype_text(const std::map<std::string, int64_t>& bytes_by_dtype) {
  std::vector<std::pair<int64_t, std::string>> order;
  for (const auto& [dtype, n] : bytes_by_dtype) order.emplace_back(-n, dtype);
  std::sort(order.begin(), order.end());
  constexpr size_t kTypes = 6;  // that fit on a line
  std::string text;
  for (size_t i = 0; i < std::min(order.size(), kTypes); ++i)
    text += (i == 0 ? "" : ", ") + order[i].second + " " + format_bytes(static_cast<double>(-order[i].first));
  if (order.size() > kTypes) text += ", " + std::to_string(order.size() - kTypes) + " more types";
  return text;
}

void FileContents::print(bool list_metadata) const {
  const std::string kind = gguf_version > 0 ? "GGUF version " + std::to_string(gguf_version) : format;
  std::printf("files        %zu (%s) with %s tensors, %s values, %s on disk\n", files, kind.c_str(),
              with_commas(static_cast<int64_t>(tensors.size())).c_str(), in_words(elements).c_str(),
              format_bytes(static_cast<double>(bytes)).c_str());
  if (bytes > 0) std::printf("             %s\n", bytes_by_dtype_text(bytes_by_dtype).c_str());
  if (metadata.empty()) return;
  if (!list_metadata) {
    std::printf("metadata     %zu %s (--metadata lists them)\n", metadata.size(), metadata.size() == 1 ? "key" : "keys");
    return;
  }
  std::printf("metadata\n");
  size_t width = 0;
  for (const Metadata& m : metadata) width = std::max(width, printable(m.key).size());
  for (const Metadata& m : metadata)
    std::printf("  %-*s  %-6s  %s\n", static_cast<int>(width), printable(m.key).c_str(), m.kind.c_str(), m.shown.c_str());
}

void FileContents::print_tensors() const {
  size_t name = 4, type = 4, shape = 5, size = 5;
  for (const TensorLine& t : tensors) {
    name = std::max(name, printable(t.name).size());
    type = std::max(type, t.type.size());
    shape = std::max(shape, shape_text(t.shape).size());
    size = std::max(size, with_commas(t.bytes).size());
  }
  const auto line = [&](const std::string& a, const std::string& b, const std::string& c, const std::string& d) {
    std::printf("%-*s  %-*s  %-*s  %*s\n", static_cast<int>(name), a.c_str(), static_cast<int>(type), b.c_str(),
                static_cast<int>(shape), c.c_str(), static_cast<int>(size), d.c_str());
  };
  std::printf("\n");
  line("name", "type", "shape", "bytes");
  for (const TensorLine& t : tensors) line(printable(t.name), t.type, shape_text(t.shape), with_commas(t.bytes));
}

}  // namespace fathom
