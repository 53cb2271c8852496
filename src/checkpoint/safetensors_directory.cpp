// A model's tensors over one file or several shards.
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "checkpoint/safetensors.h"

namespace fathom {

namespace {
std::string single_file(const std::string& directory) { return directory + "/model.safetensors"; }
std::string index_file(const std::string& directory) { return directory + "/model.safetensors.index.json"; }
}  // namespace

bool SafetensorsDirectory::exists(const std::string& directory) {
  return file_exists(single_file(directory)) || file_exists(index_file(directory));
}

SafetensorsDirectory SafetensorsDirectory::open(const std::string& directory) {
  if (!is_directory(directory)) fail_usage("checkpoint", "'" + directory + "' is no folder; give a model directory");
  SafetensorsDirectory result;
  const auto add = [&](const std::string& path) {
    result.files_.push_back(std::make_unique<SafetensorsFile>(SafetensorsFile::open(path)));
    const SafetensorsFile& file = *result.files_.back();
    for (const auto& entry : file.entries())
      if (const auto [it, fresh] = result.tensors_.emplace(entry.name, Located{&file, &entry}); !fresh)
        fail_usage("safetensors",
                   "tensor '" + printable(entry.name) + "' stands in two shards: " + it->second.file->path() + " and " + path);
  };
  const std::string single = single_file(directory), index_path = index_file(directory);
  if (file_exists(single)) {
    add(single);
    return result;
  }
  if (!file_exists(index_path))
    fail_usage(
        "checkpoint",
        "'" + directory + "' holds neither model.safetensors nor model.safetensors.index.json; is it a model directory?");

  const Json index = read_json_file(index_path);
  const auto refuse = [&](const std::string& what) { fail_usage("safetensors", index_path + ": " + what); };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    refuse("weight_map: an object of tensor -> file is expected");
  const Json& map = index["weight_map"];
  std::set<std::string> shards;
  for (const auto& [name, shard] : map.members()) {
    const std::string field = "weight_map, '" + printable(name) + "': ";
    if (!shard.is_string()) refuse(field + "is no file name");
    const std::string& file = shard.text();
    // A shard lies beside its index: no path leads elsewhere.
    if (file.empty() || file == "." || file == ".." || file.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
      refuse(field + "'" + printable(file) + "' is no plain file name");
    if (!shards.count(file) && !file_exists(directory + "/" + file))
      refuse(field + "the shard '" + printable(file) + "' is missing");
    shards.insert(file);
  }
  for (const auto& shard : shards) add(directory + "/" + shard);
  for (const auto& [name, shard] : map.members()) {
    const auto it = result.tensors_.find(name);
    if (it == result.tensors_.end() || it->second.file->path() != directory + "/" + shard.text())
      refuse("weight_map, '" + printable(name) + "': no such tensor in '" + printable(shard.text()) + "'");
  }
  if (map.size() != result.tensors_.size()) {
    std::set<std::string> named;
    for (const auto& [name, shard] : map.members()) named.insert(name);
    for (const auto& [name, located] : result.tensors_)
      if (!named.count(name))
        refuse("weight_map: leaves out '" + printable(name) + "', which stands in " + located.file->path());
  }
  return result;
}

}  // namespace fathom
