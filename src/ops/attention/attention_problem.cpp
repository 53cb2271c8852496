#include "ops/attention/attention_problem.h"

#include <cmath>

#include "base/rng.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

Tensor random_tensor(int64_t rows, int64_t width, DType dtype, uint64_t seed, uint64_t which) {
  Tensor t = Tensor::empty({rows, width}, DType::kF32);
  parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Rng rng(seed, RngStream::kTest, which, static_cast<uint64_t>(i));
      for (int64_t c = 0; c < width; ++c) t.row<float>(i)[c] = rng.next_normal();
    }
  });
  return t.to(dtype);
}

}  // namespace

AttentionLayout grouped_layout(int heads, int kv_heads, int64_t width) {
  AttentionLayout l;
  l.num_heads = heads, l.num_kv_heads = kv_heads;
  l.key_width = l.key_stride = l.value_width = l.value_stride = width;
  l.value_offset = kv_heads * width;
  l.row_width = 2 * kv_heads * width;
  l.scale = 1 / std::sqrt(static_cast<float>(width));
  return l;
}

AttentionLayout expanded_layout(int heads, int64_t key_width, int64_t shared_width, int64_t value_width) {
  AttentionLayout l;
  l.num_heads = l.num_kv_heads = heads;
  l.key_width = key_width, l.shared_width = shared_width, l.value_width = value_width;
  l.key_stride = l.value_stride = key_width + value_width;
  l.value_offset = key_width;
  l.shared_offset = heads * l.key_stride;
  l.row_width = l.shared_offset + shared_width;
  l.scale = 1 / std::sqrt(static_cast<float>(key_width + shared_width));
  return l;
}

AttentionLayout absorbed_layout(int heads, int64_t latent_width, int64_t rope_width) {
  AttentionLayout l;
  l.num_heads = heads, l.num_kv_heads = 1;
  l.key_width = l.key_stride = latent_width;
  l.shared_width = rope_width, l.shared_offset = latent_width;
  l.row_width = latent_width + rope_width;
  l.value_width = l.value_stride = latent_width;
  l.scale = 1 / std::sqrt(static_cast<float>(latent_width + rope_width));
  return l;
}

AttentionProblem make_attention_problem(const AttentionLayout& layout, DType dtype, const std::vector<int64_t>& positions,
                                        const std::vector<int64_t>& queries, uint64_t seed) {
  AttentionProblem p;
  p.layout = layout;
  p.kv_begins = {0};
  int64_t num_queries = 0;
  for (size_t s = 0; s < positions.size(); ++s) {
    p.kv_begins.push_back(p.kv_begins.back() + positions[s]);
    num_queries += queries[s];
  }
  p.q = random_tensor(num_queries, layout.num_heads * layout.query_width(), dtype, seed, 1);
  p.kv = random_tensor(p.kv_begins.back(), layout.row_width, dtype, seed, 2);
  p.blocks = packed_blocks(p.kv, p.kv_begins);
  int64_t begin = 0;
  for (size_t s = 0; s < positions.size(); ++s) {
    p.sequences.push_back({begin, queries[s], positions[s] - queries[s], p.blocks[s]});
    begin += queries[s];
  }
  return p;
}

}  // namespace fathom
