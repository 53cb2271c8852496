#include "ops/attention/attention.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/attention/attention_dispatch.h"
#include "ops/attention/forward_plan.h"
#include "tensor/storage.h"

namespace fathom {

float* attention_scratch(int64_t floats) {
  thread_local std::shared_ptr<std::byte> storage;
  thread_local int64_t size = 0;
  if (size < floats) {
    storage = allocate_storage(floats * static_cast<int64_t>(sizeof(float)));
    size = floats;
  }
  return reinterpret_cast<float*>(storage.get());
}

AttentionHead attention_head(const AttentionLayout& l, DType dtype, int64_t kv_head) {
  AttentionHead h{l.key_width,    l.key_offset + kv_head * l.key_stride,
                  l.shared_width, l.shared_offset,
                  l.value_width,  l.value_offset + kv_head * l.value_stride,
                  l.row_width,    l.num_heads / l.num_kv_heads,
                  l.scale,        {}};
  if (l.store != KvType::kPlain) h.record = record_head(l, dtype, kv_head);
  return h;
}

void check_attention_layout(const AttentionLayout& l) {
  CHECK(l.num_kv_heads > 0 && l.num_heads > 0 && l.num_heads % l.num_kv_heads == 0);
  CHECK(l.key_width > 0 && l.value_width > 0 && l.shared_width >= 0 && l.key_offset >= 0 && l.value_offset >= 0 &&
        l.shared_offset >= 0);
  CHECK(l.key_offset + (l.num_kv_heads - 1) * l.key_stride + l.key_width <= l.row_width);
  CHECK(l.value_offset + (l.num_kv_heads - 1) * l.value_stride + l.value_width <= l.row_width);
  CHECK(l.shared_width == 0 || l.shared_offset + l.shared_width <= l.row_width);
}

namespace {

std::atomic<bool> emulate_dot{false};

}  // namespace

void set_emulated_attention_for_test(bool emulated) { emulate_dot.store(emulated); }
bool emulated_attention() { return emulate_dot.load(std::memory_order_relaxed); }

void attention_forward(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                       Tensor& out, Tensor* lse) {
  check_attention_layout(layout);
  CHECK_EQ(q.dim(1), layout.num_heads * layout.query_width());
  CHECK_EQ(out.dim(1), layout.num_heads * layout.value_width);
  CHECK_EQ(out.rows(), q.rows());
  CHECK(q.dtype() == out.dtype() && (q.dtype() == DType::kF32 || q.dtype() == DType::kBF16));
  if (lse) CHECK(lse->rows() == q.rows() && lse->dim(1) == layout.num_heads);
  const bool f32 = q.dtype() == DType::kF32;
  for (const AttentionSequence& s : sequences) {
    if (s.num_queries == 0) continue;
    CHECK(s.query_begin >= 0 && s.query_begin + s.num_queries <= q.rows() && s.first_position >= 0);
    CHECK(static_cast<int64_t>(s.blocks.size()) * kKeyBlock >= s.first_position + s.num_queries);
  }
  const ForwardPlan plan = plan_forward(layout, q, sequences, out, lse);

  const ForwardFn forward =
      f32 ? IsaTable<ForwardFn>{portable::forward_tile_f32, avx2::forward_tile_f32, avx512::forward_tile_f32}.pick()
      : emulated_attention() ? portable::forward_tile_dot
                             : IsaTable<ForwardFn>{portable::forward_tile_bf16, avx2::forward_tile_bf16,
                                                   avx512::forward_tile_bf16, avx512bf16::forward_tile_bf16}
                                   .pick();
  parallel_for(static_cast<int64_t>(plan.pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ForwardPiece& piece = plan.pieces[static_cast<size_t>(i)];
      forward(piece.tile, attention_scratch(forward_scratch_floats(piece.tile.head)), piece.partial);
    }
  });
  if (plan.merges.empty()) return;
  const MergeFn merge = f32 ? IsaTable<MergeFn>{portable::merge_tile_f32, avx2::merge_tile_f32, avx512::merge_tile_f32}.pick()
                            : IsaTable<MergeFn>{portable::merge_tile_bf16, avx2::merge_tile_bf16, avx512::merge_tile_bf16,
                                                avx512bf16::merge_tile_bf16}
                                  .pick();
  parallel_for(static_cast<int64_t>(plan.merges.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      merge(plan.merges[static_cast<size_t>(i)].tile, plan.merges[static_cast<size_t>(i)].states);
  });
}

std::vector<std::vector<const void*>> packed_blocks(const Tensor& kv, std::span<const int64_t> sequence_begins) {
  std::vector<std::vector<const void*>> blocks;
  for (size_t s = 0; s + 1 < sequence_begins.size(); ++s) {
    blocks.emplace_back();
    for (int64_t row = sequence_begins[s]; row < sequence_begins[s + 1]; row += kKeyBlock)
      blocks.back().push_back(kv.raw() + row * kv.row_stride() * dtype_bytes(kv.dtype()));
  }
  return blocks;
}

}  // namespace fathom
