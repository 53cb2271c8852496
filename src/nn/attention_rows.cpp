#include "nn/attention_rows.h"

#include <cstring>

#include "base/thread_pool.h"

namespace fathom {

Tensor empty_kv_rows(int64_t rows, int64_t width, DType dtype) {
  return Tensor::empty({rows + kKeyBlock, width}, dtype).slice_rows(0, rows);
}

ProfileWork attention_work(const ForwardContext& context, const AttentionLayout& layout) {
  double pairs = 0, positions = 0;  // of query and key; read from the store
  for (int64_t s = 0; s < context.batch->num_segments(); ++s) {
    const int64_t n = context.batch->begins[s + 1] - context.batch->begins[s];
    if (n == 0) continue;
    const double rows = static_cast<double>(n), first = context.batch->positions[context.batch->begins[s]];
    pairs += rows * first + rows * (rows + 1) / 2;
    positions += first + rows;
  }
  const double width = static_cast<double>(layout.query_width() + layout.value_width);
  return {2 * pairs * layout.num_heads * width,
          positions * static_cast<double>(layout.row_width * dtype_bytes(context.activation()))};
}

AttentionRows::AttentionRows(const ForwardContext& context, int layer, const Tensor& kv) {
  ProfileScope scope("cache.write");
  const Batch& batch = *context.batch;
  const int64_t segments = batch.num_segments();
  if (!context.cache) {
    blocks_ = packed_blocks(kv, batch.begins);
  } else {
    KvCache& cache = *context.cache->cache;
    CHECK_EQ(context.cache->blocks.size(), segments);
    CHECK_EQ(kv.dim(1), cache.row_width());
    CHECK(kv.dtype() == cache.dtype());
    const int64_t bytes = kv.dim(1) * dtype_bytes(kv.dtype()), stride = kv.row_stride() * dtype_bytes(kv.dtype());
    blocks_.resize(segments);
    for (int64_t s = 0; s < segments; ++s) {
      const auto ids = context.cache->blocks[s];
      const int64_t begin = batch.begins[s], end = batch.begins[s + 1];
      if (begin == end) continue;
      const int64_t first = batch.positions[begin];
      CHECK(static_cast<int64_t>(ids.size()) * kKeyBlock >= first + (end - begin));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t p = first + (t - begin);
        std::memcpy(cache.row(layer, ids[p / kKeyBlock], p % kKeyBlock), kv.raw() + t * stride, bytes);
      }
      for (int64_t b = 0; b * kKeyBlock < first + (end - begin); ++b) blocks_[s].push_back(cache.block(layer, ids[b]));
    }
  }
  for (int64_t s = 0; s < segments; ++s) {
    const int64_t begin = batch.begins[s], end = batch.begins[s + 1];
    if (begin == end) continue;
    const int64_t first = batch.positions[begin];
    if (!context.cache) CHECK_EQ(first, 0);
    sequences_.push_back({begin, end - begin, first, blocks_[s]});
  }
}

}  // namespace fathom
