#include "checkpoint/train_state.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr const char* kTensors = "trainer/state.safetensors";
constexpr const char* kScalars = "trainer/state.json";
constexpr const char* kManifest = "trainer/manifest.json";

// --- scalars: a real is its text for people and its bits for us (NaN, infinities and denormals survive, whatever FTZ does)

Json real_to_json(double value) {
  char text[40], bits[20];
  std::snprintf(text, sizeof text, "%.17g", value);
  std::snprintf(bits, sizeof bits, "%016llx", static_cast<unsigned long long>(std::bit_cast<uint64_t>(value)));
  return {text, bits};
}
double real_from_json(const Json& value) {
  const std::string bits = value.at(1).get<std::string>();
  uint64_t word = 0;
  const auto read = std::from_chars(bits.data(), bits.data() + bits.size(), word, 16);
  if (read.ec != std::errc() || read.ptr != bits.data() + bits.size())
    fail("checkpoint", "a real has the bits '" + printable(bits, 40) + "'");
  return std::bit_cast<double>(word);
}
std::string scalars_to_json(const StateScalars& scalars) {
  Json json = {{"integers", Json::object()}, {"reals", Json::object()}, {"texts", Json::object()}};
  for (const auto& [name, value] : scalars.integers) json["integers"][name] = value;
  for (const auto& [name, value] : scalars.reals) json["reals"][name] = real_to_json(value);
  for (const auto& [name, value] : scalars.texts) {
    if (first_invalid_utf8(value) >= 0) fail("checkpoint", "the text '" + name + "' is not UTF-8");
    json["texts"][name] = value;
  }
  return json.dump(1) + "\n";
}
StateScalars scalars_from_json(const Json& json) {
  StateScalars scalars;
  for (const auto& [name, value] : json.at("integers").members()) scalars.integers[name] = value.get<int64_t>();
  for (const auto& [name, value] : json.at("reals").members()) scalars.reals[name] = real_from_json(value);
  for (const auto& [name, value] : json.at("texts").members()) scalars.texts[name] = value.get<std::string>();
  return scalars;
}

template <class Map>
const auto& required(const Map& map, const char* kind, const std::string& name) {
  const auto it = map.find(name);
  if (it == map.end())
    fail("checkpoint", std::string("the checkpoint holds no ") + kind + " '" + name + "'; was it written by another version?");
  return it->second;
}

// --- manifest

void list_files(const std::string& root, const std::string& below, std::vector<std::string>& files) {
  for (const auto& name : list_directory(below.empty() ? root : root + "/" + below)) {
    const std::string path = below.empty() ? name : below + "/" + name;
    if (is_directory(root + "/" + path))
      list_files(root, path, files);
    else if (path != kManifest)
      files.push_back(path);
  }
}
int64_t file_bytes(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) fail("checkpoint", "'" + path + "' is missing");
  return info.st_size;
}
uint32_t crc_of(const std::string& text) {
  return static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

void write_manifest(const std::string& folder, int64_t step, uint32_t tensors_crc) {
  std::vector<std::string> files;
  list_files(folder, "", files);
  Json list = Json::object();
  for (const auto& file : files)
    list[file] = {{"bytes", file_bytes(folder + "/" + file)},
                  {"crc32", file == kTensors ? tensors_crc : crc32_of_file(folder + "/" + file)}};
  const Json content = {{"version", 1}, {"step", step}, {"files", list}};
  const Json manifest = {{"content", content}, {"content_crc32", crc_of(content.dump())}};
  write_file_atomic(folder + "/" + kManifest, manifest.dump(1) + "\n");
}

// Returns the step; Error that names what is wrong.
int64_t check_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifest;
  if (!file_exists(path)) fail("checkpoint", "'" + path + "' is missing: the checkpoint is not whole");
  try {
    const Json manifest = read_json_file(path);
    const Json& content = manifest.at("content");
    if (crc_of(content.dump()) != manifest.at("content_crc32").get<uint32_t>())
      fail("checkpoint", "'" + path + "' is damaged (its CRC-32 differs)");
    if (content.at("version") != 1)
      fail("checkpoint", "'" + path + "' has version " + content.at("version").dump() + "; this program reads version 1");
    for (const auto& [file, entry] : content.at("files").members()) {
      const std::string full = folder + "/" + file;
      const int64_t bytes = file_bytes(full), expected = entry.at("bytes").get<int64_t>();
      if (bytes != expected)
        fail("checkpoint",
             "'" + full + "' is damaged: " + std::to_string(bytes) + " bytes, " + std::to_string(expected) + " expected");
      if (crc32_of_file(full) != entry.at("crc32").get<uint32_t>())
        fail("checkpoint", "'" + full + "' is damaged: its CRC-32 differs");
    }
    return content.at("step").get<int64_t>();
  } catch (const JsonError& e) {
    fail("checkpoint", "'" + path + "' is damaged: " + e.what());
  }
}

}  // namespace

int64_t StateScalars::integer(const std::string& name) const { return required(integers, "integer", name); }
double StateScalars::real(const std::string& name) const { return required(reals, "real", name); }
const std::string& StateScalars::text(const std::string& name) const { return required(texts, "text", name); }

std::string checkpoint_path(const std::string& directory, int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "/step-%08lld", static_cast<long long>(step));
  return directory + name;
}

std::vector<int64_t> checkpoint_steps(const std::string& directory) {
  std::vector<int64_t> steps;
  if (!is_directory(directory)) return steps;
  for (const auto& name : list_directory(directory)) {
    const std::string digits = name.rfind("step-", 0) == 0 ? name.substr(5) : "";
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    if (is_directory(directory + "/" + name) && checkpoint_path(directory, std::stoll(digits)) == directory + "/" + name)
      steps.push_back(std::stoll(digits));
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string save_checkpoint(const std::string& directory, int64_t step, const std::vector<SafetensorsItem>& tensors,
                            const StateScalars& scalars, const std::function<void(const std::string& folder)>& fill,
                            int keep_last) {
  CHECK(step >= 0);
  make_directories(directory);
  remove_stale_temporaries(directory);
  const std::string path = checkpoint_path(directory, step);
  write_directory_atomic(path, [&](const std::string& folder) {
    if (fill) fill(folder);
    make_directories(folder + "/trainer");
    const uint32_t crc = write_safetensors(folder + "/" + kTensors, tensors, {{"step", std::to_string(step)}});
    write_file_atomic(folder + "/" + kScalars, scalars_to_json(scalars));
    write_manifest(folder, step, crc);
  });
  // Only now, when the new one stands, may old ones go. Later steps are not touched: the run that wrote them may be wanted.
  if (keep_last > 0) {
    std::vector<int64_t> steps = checkpoint_steps(directory);
    steps.erase(std::remove_if(steps.begin(), steps.end(), [&](int64_t s) { return s > step; }), steps.end());
    for (size_t i = 0; i + static_cast<size_t>(keep_last) < steps.size(); ++i)
      remove_directory_atomic(checkpoint_path(directory, steps[i]));
  }
  return path;
}

Tensor LoadedCheckpoint::tensor(const std::string& name) const {
  const auto* entry = tensors.find(name);
  if (!entry)
    fail("checkpoint", "'" + path + "' holds no tensor '" + printable(name) + "'; does the recipe describe another model?");
  return tensors.tensor(*entry);
}

LoadedCheckpoint load_checkpoint(const std::string& path) {
  const int64_t step = check_manifest(path);
  try {
    return {path, step, scalars_from_json(read_json_file(path + "/" + kScalars)), SafetensorsFile::open(path + "/" + kTensors)};
  } catch (const JsonError& e) {
    fail("checkpoint", "'" + path + "/" + kScalars + "' is not what a checkpoint holds: " + e.what());
  }
}

std::optional<LoadedCheckpoint> latest_checkpoint(const std::string& directory) {
  std::vector<int64_t> steps = checkpoint_steps(directory);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      return load_checkpoint(checkpoint_path(directory, *step));
    } catch (const Error& e) {
      log_warning(std::string(e.what()) + "; this checkpoint is skipped, an earlier one is looked for");
    }
  }
  return std::nullopt;
}

}  // namespace fathom
