// Computed blocks of prompts on disk (--prefix-cache): a file a full block of 64 positions, found again by a later process.
//
//   DIR/<key>.kv   "FATHOMKV"  u32 version  u32 0  u64 sum of all that follows  key  parent's key  64 tokens  keys and values
//
// A key is the SHA-256 of the parent's key and the block's tokens; the root's is that of the identity (model, tokenizer,
// numerics with the cache's type, layers and row bytes) and the salt. So a file belongs to a whole chain of tokens, and to no
// other model. Files appear whole or not at all. What cannot be read, is damaged, or belongs elsewhere is named in a warning
// and is a miss; the first failed write is named and ends writing. Several processes may use one folder.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/sha256.h"

namespace fathom {

struct PrefixStoreConfig {
  std::string directory;  // made where it is missing; empty: no store
  std::string
      identity;      // of what decides the bits of keys and values; see stored_prefix_identity (checkpoint/packed_identity.h)
  std::string salt;  // another salt shares nothing: one for each tenant
  int64_t max_bytes = int64_t{8} << 30;  // of files; the least recently used go first
};

class PrefixStore {
 public:
  // `block_bytes`: keys and values of a block, all layers.
  PrefixStore(PrefixStoreConfig config, int64_t block_bytes);
  // Blocks `first`, first + 1, … of `tokens` (whole blocks only), in order, as long as they are there and take() accepts them.
  void load(std::span<const int32_t> tokens, int64_t first,
            const std::function<bool(int64_t block, const std::byte* data)>& take);
  // Keeps all whole blocks of `tokens` that are not kept yet; fill() writes block_bytes.
  void save(std::span<const int32_t> tokens, const std::function<void(int64_t block, std::byte* data)>& fill);
  int64_t bytes() const { return bytes_; }  // of the folder's files that are known

 private:
  struct File {
    int64_t bytes = 0, last_use = 0;  // nanoseconds
  };
  std::vector<Digest> chain_of(std::span<const int32_t> tokens) const;
  std::string path_of(const std::string& name) const { return config_.directory + "/" + name; }
  bool read(const Digest& key, const Digest& parent, std::span<const int32_t> tokens);  // into buffer_
  bool make_room(int64_t bytes, int64_t keep_from);
  void touch(std::span<const Digest> chain);
  void forget(std::map<std::string, File>::iterator it);
  int64_t now();

  PrefixStoreConfig config_;
  const int64_t block_bytes_;
  Digest root_;
  std::map<std::string, File> files_;
  int64_t bytes_ = 0, clock_ = 0;
  bool writable_ = true, readable_ = true;
  std::string buffer_;  // of one file
};

}  // namespace fathom
