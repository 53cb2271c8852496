#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/attention/attention_dispatch.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

// Gradient of the columns that all heads share: the heads' parts, added in order.
template <class T>
void add_heads(const AttentionLayout& layout, const float* parts, int64_t rows, Tensor& dkv) {
  const int64_t width = layout.shared_width;
  parallel_for(rows, 32, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(width);
    for (int64_t t = begin; t < end; ++t) {
      std::copy_n(parts + t * width, width, sum.begin());
      for (int64_t g = 1; g < layout.num_kv_heads; ++g)
        for (int64_t c = 0; c < width; ++c) sum[c] += parts[(g * rows + t) * width + c];
      T* to = dkv.row<T>(t) + layout.shared_offset;
      for (int64_t c = 0; c < width; ++c) {
        if constexpr (std::is_same_v<T, float>)
          to[c] = sum[c];
        else
          to[c] = to_bf16(sum[c]);
      }
    }
  });
}

// Every column of a row belongs to a key, a value or both: else some of dkv would stay unassigned.
bool covers_rows(const AttentionLayout& l) {
  const int64_t both = std::max<int64_t>(
      0, std::min(l.key_offset + l.key_width, l.value_offset + l.value_width) - std::max(l.key_offset, l.value_offset));
  return l.num_kv_heads * (l.key_width + l.value_width - both) + l.shared_width == l.row_width;
}

}  // namespace

void attention_backward(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                        std::span<const AttentionSequence> sequences, const Tensor& out, const Tensor& lse, const Tensor& dout,
                        Tensor& dq, Tensor& dkv) {
  check_attention_layout(layout);
  CHECK(layout.store == KvType::kPlain);
  const DType dtype = q.dtype();
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  CHECK(kv.dtype() == dtype && out.dtype() == dtype && dout.dtype() == dtype && dq.dtype() == dtype && dkv.dtype() == dtype);
  CHECK_EQ(q.dim(1), layout.num_heads * layout.query_width());
  CHECK(dq.shape() == q.shape() && dkv.shape() == kv.shape() && dout.shape() == out.shape());
  CHECK_EQ(out.dim(1), layout.num_heads * layout.value_width);
  CHECK_EQ(kv.dim(1), layout.row_width);
  CHECK(lse.rows() == q.rows() && lse.dim(1) == layout.num_heads && out.rows() == q.rows() && kv.rows() == q.rows());
  const int64_t bytes = dtype_bytes(dtype), group = layout.num_heads / layout.num_kv_heads, rows = kv.rows();
  const int64_t stride = backward_stride(layout.query_width());

  int64_t asked = 0;
  for (const AttentionSequence& s : sequences) asked += s.num_queries;
  if (!covers_rows(layout) || asked != rows) dkv.zero();
  if (asked != rows) dq.zero();

  auto floats = [](int64_t n) { return allocate_storage(std::max<int64_t>(n, 1) * static_cast<int64_t>(sizeof(float))); };
  const bool reduce = layout.shared_width > 0 && layout.num_kv_heads > 1;
  const std::shared_ptr<std::byte> dq_sum = floats(rows * layout.num_heads * stride);
  const std::shared_ptr<std::byte> dshared = floats(reduce ? layout.num_kv_heads * rows * layout.shared_width : 0);
  if (reduce && asked != rows)
    std::fill_n(reinterpret_cast<float*>(dshared.get()), layout.num_kv_heads * rows * layout.shared_width, 0.f);

  // Pieces of keys, early keys of all heads first: a piece waits for the one before it, which then has long begun.
  std::vector<BackwardPiece> pieces;
  std::vector<std::pair<int64_t, int64_t>> chain;  // sequence * kv_heads + head, index of the piece in its head
  const int64_t heads = layout.num_kv_heads;
  int64_t longest = 0;
  for (const AttentionSequence& s : sequences) longest = std::max(longest, s.num_queries);
  for (int64_t key = 0; key < longest; key += kBackwardKeys)
    for (size_t i = 0; i < sequences.size(); ++i) {
      const AttentionSequence& s = sequences[i];
      if (key >= s.num_queries) continue;
      CHECK(s.first_position == 0 && s.query_begin >= 0 && s.query_begin + s.num_queries <= rows);
      for (int64_t g = 0; g < heads; ++g) {
        BackwardPiece p;
        p.head = attention_head(layout, q.dtype(), g);
        auto at = [&](const Tensor& t, int64_t column) {
          return const_cast<std::byte*>(t.raw()) + (s.query_begin * t.row_stride() + column) * bytes;
        };
        p.q = at(q, g * group * layout.query_width());
        p.out = at(out, g * group * layout.value_width);
        p.dout = at(dout, g * group * layout.value_width);
        p.kv = at(kv, 0);
        p.lse = lse.row<float>(s.query_begin) + g * group;
        p.q_stride = q.row_stride(), p.out_stride = out.row_stride(), p.dout_stride = dout.row_stride();
        p.kv_stride = kv.row_stride(), p.lse_stride = lse.row_stride();
        p.num_queries = s.num_queries, p.key_begin = key, p.key_end = std::min(s.num_queries, key + kBackwardKeys);
        p.dq = at(dq, g * group * layout.query_width());
        p.dkv = at(dkv, 0);
        p.dq_stride = dq.row_stride(), p.dkv_stride = dkv.row_stride();
        p.dq_sum =
            reinterpret_cast<float*>(dq_sum.get()) + (s.query_begin * layout.num_heads + g * s.num_queries * group) * stride;
        p.dshared =
            reduce ? reinterpret_cast<float*>(dshared.get()) + (g * rows + s.query_begin) * layout.shared_width : nullptr;
        pieces.push_back(p);
        chain.push_back({static_cast<int64_t>(i) * heads + g, key / kBackwardKeys});
      }
    }
  const int64_t per_chain = longest / kBackwardKeys + 1;
  std::vector<int> done(sequences.size() * heads * per_chain, 0);
  for (size_t i = 0; i < pieces.size(); ++i) {
    int* mine = &done[chain[i].first * per_chain + chain[i].second];
    pieces[i].done = mine;
    pieces[i].earlier = chain[i].second > 0 ? mine - 1 : nullptr;
  }

  const BackwardFn backward =
      dtype == DType::kF32
          ? IsaTable<BackwardFn>{portable::backward_piece_f32, avx2::backward_piece_f32, avx512::backward_piece_f32}.pick()
      : emulated_attention() ? portable::backward_piece_dot
                             : IsaTable<BackwardFn>{portable::backward_piece_bf16, avx2::backward_piece_bf16,
                                                    avx512::backward_piece_bf16, avx512bf16::backward_piece_bf16}
                                   .pick();
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) backward(pieces[i], attention_scratch(backward_scratch_floats(pieces[i].head)));
  });
  if (!reduce) return;
  if (dtype == DType::kF32)
    add_heads<float>(layout, reinterpret_cast<float*>(dshared.get()), rows, dkv);
  else
    add_heads<bf16>(layout, reinterpret_cast<float*>(dshared.get()), rows, dkv);
}

}  // namespace fathom
