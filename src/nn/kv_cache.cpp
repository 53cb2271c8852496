#include "nn/kv_cache.h"

#include <cstring>

#include "ops/attention/attention.h"

namespace fathom {

KvCache::KvCache(int num_layers, int64_t row_bytes, int64_t num_blocks) : row_bytes_(row_bytes), num_blocks_(num_blocks) {
  for (int l = 0; l < num_layers; ++l) layers_.push_back(Tensor::lazy_zeros({num_blocks, kKeyBlock, row_bytes}, DType::kU8));
}

void* KvCache::block(int layer, int32_t id) {
  CHECK(layer >= 0 && layer < num_layers() && id >= 0 && id < num_blocks_);
  return layers_[layer].raw() + id * kKeyBlock * row_bytes_;
}
const void* KvCache::block(int layer, int32_t id) const { return const_cast<KvCache*>(this)->block(layer, id); }

void* KvCache::row(int layer, int32_t block_id, int64_t slot) {
  CHECK(slot >= 0 && slot < kKeyBlock);
  return static_cast<std::byte*>(block(layer, block_id)) + slot * row_bytes_;
}

void KvCache::copy_block(int32_t from, int32_t to) {
  for (int l = 0; l < num_layers(); ++l) std::memcpy(block(l, to), block(l, from), kKeyBlock * row_bytes_);
}

int64_t KvCache::bytes() const { return num_layers() * num_blocks_ * kKeyBlock * row_bytes_; }

}  // namespace fathom
