#include "checkpoint/packed_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/sum_bytes.h"
#include "base/utf8.h"

namespace fathom {
namespace {

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The first and the last MiB and 64 blocks between: headers, and enough of the values to tell two trainings apart.
PackedIdentity::Source source_of(const std::string& path) {
  constexpr int64_t kEnd = 1 << 20, kBlock = 4096, kBlocks = 64;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) fail("checkpoint", "cannot look at '" + printable(path) + "': " + std::strerror(errno));
  PackedIdentity::Source source;
  source.name = name_of(path);
  source.size = info.st_size;
  source.mtime_ns = static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const int64_t size = static_cast<int64_t>(bytes.size());
  const auto add = [&](int64_t begin, int64_t count) {
    count = std::min(count, size - begin);
    source.sample = source.sample * 31 + sum_bytes(bytes.data() + begin, count);
  };
  add(0, kEnd);
  if (size > kEnd) add(std::max(kEnd, size - kEnd), kEnd);
  for (int64_t i = 0; i < kBlocks && size > 2 * kEnd; ++i) add(kEnd + (size - 2 * kEnd) / kBlocks * i, kBlock);
  return source;
}

// The cache of keys and values is no matter of weights.
std::string packing_identity(Numerics numerics) {
  numerics.cache = KvType::kPlain;
  return numerics.identity();
}

}  // namespace

PackedIdentity packed_identity(const ModelFiles& files, const Numerics& numerics) {
  PackedIdentity identity;
  identity.numerics = packing_identity(numerics);
  identity.compute = numerics.compute;
  std::vector<std::string> paths;
  if (files.is_gguf()) {
    paths = files.gguf_file().paths();
  } else {
    for (const auto& file : files.tensors().files()) paths.push_back(file->path());
    paths.push_back(files.path() + "/config.json");
  }
  for (const std::string& path : paths) identity.sources.push_back(source_of(path));
  return identity;
}

std::string stored_prefix_identity(const ModelFiles& files, const Numerics& numerics) {
  std::vector<PackedIdentity::Source> sources = packed_identity(files, numerics).sources;
  if (!files.is_gguf())  // a GGUF file holds its own
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"})
      if (const std::string path = files.path() + "/" + name; file_exists(path)) sources.push_back(source_of(path));
  std::string text = numerics.identity();
  for (const auto& s : sources)
    text +=
        "; " + printable(s.name) + " " + std::to_string(s.size) + " " + std::to_string(s.mtime_ns) + " " + sum_text(s.sample);
  return text;
}

std::string packed_cache_path(const std::string& path, const ModelFiles& files, const Numerics& numerics) {
  if (!is_directory(path)) return path;
  std::string model = files.path();
  while (model.size() > 1 && model.back() == '/') model.pop_back();
  std::string name = name_of(model) + "." + packing_identity(numerics);
  std::replace(name.begin(), name.end(), '/', '-');
  return path + (path.back() == '/' ? "" : "/") + name + ".packed";
}

}  // namespace fathom
