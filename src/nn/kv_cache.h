// Paged storage of keys and values (or MLA latents): blocks of kKeyBlock positions, one pool of block ids for all layers.
// Who owns which block is the engine's business (infer/block_manager.h); this is memory only.
#pragma once
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

class KvCache {
 public:
  // A layer's store: [num_blocks, kKeyBlock, row_bytes] bytes, zero; it takes memory as blocks are first written. What a row
  // is, plain elements or a quantised record (ops/attention/kv_record.h), is the attention layout's business.
  KvCache(int num_layers, int64_t row_bytes, int64_t num_blocks);
  void* block(int layer, int32_t id);
  const void* block(int layer, int32_t id) const;
  void* row(int layer, int32_t block_id, int64_t slot);
  void copy_block(int32_t from, int32_t to);  // all layers: copy-on-write
  int64_t num_blocks() const { return num_blocks_; }
  int num_layers() const { return static_cast<int>(layers_.size()); }
  int64_t row_bytes() const { return row_bytes_; }
  int64_t bytes() const;

 private:
  std::vector<Tensor> layers_;
  int64_t row_bytes_, num_blocks_;
};

// One forward's view: for segment s of the batch, blocks[s][b] holds positions [64b, 64b+64). The blocks of all positions
// up to the segment's last row are there; forward writes the segment's own rows and attends to everything before them.
struct KvView {
  KvCache* cache = nullptr;
  std::vector<std::span<const int32_t>> blocks;
};

}  // namespace fathom
