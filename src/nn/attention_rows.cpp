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
  return {2 * pairs * layout.num_heads * width, positions * static_cast<double>(kv_row_bytes(layout, context.activation()))};
}

AttentionRows::AttentionRows(const ForwardContext& context, const AttentionLayout& layout, int layer, const Tensor& kv) {
  ProfileScope scope("cache.write");
  const Batch& batch = *context.batch;
  const int64_t segments = batch.num_segments(), bytes = kv_row_bytes(layout, kv.dtype());
  const bool plain = layout.store == KvType::kPlain;
  std::vector<std::byte*> rows;  // of the records
  if (!plain) rows.reserve(static_cast<size_t>(kv.rows()));
  if (!context.cache && plain) {
    blocks_ = packed_blocks(kv, batch.begins);
  } else if (!context.cache) {
    records_ = Tensor::zeros({kv.rows() + kKeyBlock, bytes}, DType::kU8).slice_rows(0, kv.rows());
    for (int64_t t = 0; t < kv.rows(); ++t) rows.push_back(records_.raw() + t * bytes);
    blocks_ = packed_blocks(records_, batch.begins);
  } else {
    KvCache& cache = *context.cache->cache;
    CHECK_EQ(context.cache->blocks.size(), segments);
    CHECK_EQ(bytes, cache.row_bytes());
    const int64_t stride = kv.row_stride() * dtype_bytes(kv.dtype());
    blocks_.resize(segments);
    for (int64_t s = 0; s < segments; ++s) {
      const auto ids = context.cache->blocks[s];
      const int64_t begin = batch.begins[s], end = batch.begins[s + 1];
      if (begin == end) continue;
      const int64_t first = batch.positions[begin];
      CHECK(static_cast<int64_t>(ids.size()) * kKeyBlock >= first + (end - begin));
      for (int64_t t = begin; t < end; ++t) {
        const int64_t p = first + (t - begin);
        void* row = cache.row(layer, ids[p / kKeyBlock], p % kKeyBlock);
        if (plain)
          std::memcpy(row, kv.raw() + t * stride, bytes);
        else
          rows.push_back(static_cast<std::byte*>(row));
      }
      for (int64_t b = 0; b * kKeyBlock < first + (end - begin); ++b) blocks_[s].push_back(cache.block(layer, ids[b]));
    }
  }
  if (!plain) write_kv_records(layout, kv, rows.data());
  for (int64_t s = 0; s < segments; ++s) {
    const int64_t begin = batch.begins[s], end = batch.begins[s + 1];
    if (begin == end) continue;
    const int64_t first = batch.positions[begin];
    if (!context.cache) CHECK_EQ(first, 0);
    sequences_.push_back({begin, end - begin, first, blocks_[s]});
  }
}

}  // namespace fathom
