#include "infer/prefix_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/sum_bytes.h"
#include "base/utf8.h"
#include "ops/attention/attention.h"

namespace fathom {
namespace {

constexpr char kMagic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'K', 'V'};
constexpr uint32_t kVersion = 4;  // of the file, of how a layer's rows lie in a block, and of the order of the model's sums
constexpr int64_t kSumAt = 16, kSummed = 24, kParentAt = kSummed + 32, kTokensAt = kParentAt + 32,
                  kDataAt = kTokensAt + kKeyBlock * 4;
constexpr const char* kSuffix = ".kv";

std::string name_of(const Digest& key) { return hex(key) + kSuffix; }
bool is_name(const std::string& name) { return name.size() == 64 + 3 && name.ends_with(kSuffix); }
uint64_t sum_of(const std::string& file) {
  return sum_bytes(reinterpret_cast<const std::byte*>(file.data()) + kSummed, static_cast<int64_t>(file.size()) - kSummed);
}

}  // namespace

PrefixStore::PrefixStore(PrefixStoreConfig config, int64_t block_bytes)
    : config_(std::move(config)), block_bytes_(block_bytes) {
  const std::string parts[] = {config_.identity, config_.salt, std::to_string(block_bytes_)};
  Sha256 hash;
  for (const std::string& part : parts) {
    const uint64_t length = part.size();
    hash.add(&length, 1).add(part.data(), part.size());
  }
  root_ = hash.digest();
  try {
    make_directories(config_.directory);
    remove_stale_temporaries(config_.directory);
    for (const std::string& name : list_directory(config_.directory)) {
      struct stat info {};
      if (!is_name(name) || ::stat(path_of(name).c_str(), &info) != 0) continue;
      const int64_t used = static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
      files_[name] = {info.st_size, used};
      bytes_ += info.st_size;
      clock_ = std::max(clock_, used);
    }
  } catch (const Error& e) {
    log_warning("prefix cache '" + printable(config_.directory) + "' is not used: " + e.what());
    readable_ = writable_ = false;
  }
}

int64_t PrefixStore::now() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return clock_ = std::max(clock_ + 1, static_cast<int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec);
}

std::vector<Digest> PrefixStore::chain_of(std::span<const int32_t> tokens) const {
  std::vector<Digest> chain;
  Digest key = root_;
  for (size_t at = 0; at + kKeyBlock <= tokens.size(); at += kKeyBlock) {
    key = Sha256().add(key.data(), key.size()).add(tokens.data() + at, kKeyBlock).digest();
    chain.push_back(key);
  }
  return chain;
}

void PrefixStore::forget(std::map<std::string, File>::iterator it) {
  bytes_ -= it->second.bytes;
  files_.erase(it);
}

// The deepest first, so that of a chain its end is the oldest and goes before its beginning.
void PrefixStore::touch(std::span<const Digest> chain) {
  for (size_t i = chain.size(); i-- > 0;) {
    const auto it = files_.find(name_of(chain[i]));
    if (it == files_.end()) continue;
    it->second.last_use = now();
    timespec times[2];
    times[0].tv_sec = times[1].tv_sec = it->second.last_use / 1'000'000'000;
    times[0].tv_nsec = times[1].tv_nsec = it->second.last_use % 1'000'000'000;
    ::utimensat(AT_FDCWD, path_of(it->first).c_str(), times, 0);  // a folder that is only read keeps its order
  }
}

bool PrefixStore::read(const Digest& key, const Digest& parent, std::span<const int32_t> tokens) {
  const std::string name = name_of(key), path = path_of(name);
  if (!file_exists(path)) {  // never kept, or another process took it away
    if (const auto it = files_.find(name); it != files_.end()) forget(it);
    return false;
  }
  std::string why;
  try {
    const int64_t size = kDataAt + block_bytes_;
    buffer_ = read_file(path, size);
    uint32_t version = 0;
    uint64_t sum = 0;
    if (static_cast<int64_t>(buffer_.size()) == size) {
      std::memcpy(&version, buffer_.data() + sizeof kMagic, sizeof version);
      std::memcpy(&sum, buffer_.data() + kSumAt, sizeof sum);
    }
    if (static_cast<int64_t>(buffer_.size()) != size)
      why = "is truncated: " + std::to_string(buffer_.size()) + " bytes of " + std::to_string(size);
    else if (std::memcmp(buffer_.data(), kMagic, sizeof kMagic) != 0)
      why = "is corrupt: it does not begin as a block of a prefix cache";
    else if (version != kVersion)
      why = "is stale: its version is " + std::to_string(version) + ", this program's is " + std::to_string(kVersion);
    else if (sum_of(buffer_) != sum || std::memcmp(buffer_.data() + 12, "\0\0\0\0", 4) != 0)
      why = "is corrupt: its checksum is wrong";
    else if (std::memcmp(buffer_.data() + kSummed, key.data(), key.size()) != 0 ||
             std::memcmp(buffer_.data() + kParentAt, parent.data(), parent.size()) != 0 ||
             std::memcmp(buffer_.data() + kTokensAt, tokens.data(), kKeyBlock * 4) != 0)
      why = "is not the block that its name says";
  } catch (const Error& e) {
    why = std::string("cannot be read: ") + e.what();
  }
  if (why.empty()) return true;
  log_warning("prefix cache '" + printable(path) + "' " + why + "; its block is computed again");
  if (::unlink(path.c_str()) == 0)
    if (const auto it = files_.find(name); it != files_.end()) forget(it);  // so that it is written anew
  return false;
}

void PrefixStore::load(std::span<const int32_t> tokens, int64_t first,
                       const std::function<bool(int64_t block, const std::byte* data)>& take) {
  if (!readable_) return;
  const std::vector<Digest> chain = chain_of(tokens);
  size_t block = static_cast<size_t>(first);
  for (; block < chain.size(); ++block) {
    const Digest& parent = block == 0 ? root_ : chain[block - 1];
    if (!read(chain[block], parent, tokens.subspan(block * kKeyBlock, kKeyBlock))) break;
    if (!take(static_cast<int64_t>(block), reinterpret_cast<const std::byte*>(buffer_.data()) + kDataAt)) break;
    const auto [it, is_new] = files_.try_emplace(name_of(chain[block]), File{static_cast<int64_t>(buffer_.size()), 0});
    if (is_new) bytes_ += it->second.bytes;  // another process wrote it
  }
  touch(std::span(chain).first(block));
}

bool PrefixStore::make_room(int64_t bytes, int64_t keep_from) {
  while (bytes_ + bytes > config_.max_bytes) {
    const auto oldest = std::min_element(files_.begin(), files_.end(),
                                         [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; });
    if (oldest == files_.end() || oldest->second.last_use >= keep_from) return false;
    if (::unlink(path_of(oldest->first).c_str()) != 0 && errno != ENOENT) {
      log_warning("prefix cache: cannot remove '" + printable(path_of(oldest->first)) + "': " + std::strerror(errno) +
                  "; nothing more is kept");
      writable_ = false;
      return false;
    }
    forget(oldest);
  }
  return true;
}

void PrefixStore::save(std::span<const int32_t> tokens, const std::function<void(int64_t block, std::byte* data)>& fill) {
  if (!writable_) return;
  const std::vector<Digest> chain = chain_of(tokens);
  const int64_t size = kDataAt + block_bytes_, begin = now();
  touch(chain);  // so that room is not made of the chain's own beginning
  for (size_t block = 0; block < chain.size(); ++block) {
    const std::string name = name_of(chain[block]);
    if (files_.contains(name)) continue;
    if (!make_room(size, begin)) break;
    const Digest& parent = block == 0 ? root_ : chain[block - 1];
    buffer_.assign(static_cast<size_t>(size), '\0');
    std::memcpy(buffer_.data(), kMagic, sizeof kMagic);
    std::memcpy(buffer_.data() + sizeof kMagic, &kVersion, sizeof kVersion);
    std::memcpy(buffer_.data() + kSummed, chain[block].data(), 32);
    std::memcpy(buffer_.data() + kParentAt, parent.data(), 32);
    std::memcpy(buffer_.data() + kTokensAt, tokens.data() + block * kKeyBlock, kKeyBlock * 4);
    fill(static_cast<int64_t>(block), reinterpret_cast<std::byte*>(buffer_.data()) + kDataAt);
    const uint64_t sum = sum_of(buffer_);
    std::memcpy(buffer_.data() + kSumAt, &sum, sizeof sum);
    try {
      write_file_atomic(path_of(name), buffer_);
    } catch (const Error& e) {
      log_warning(std::string("prefix cache: ") + e.what() + "; nothing more is kept");
      writable_ = false;
      return;
    }
    files_[name] = {size, now()};
    bytes_ += size;
  }
  touch(chain);
}

}  // namespace fathom
