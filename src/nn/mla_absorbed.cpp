// The absorbed formula (V2 report §2.1.2): attention over latents, one key head of kv_lora + rope for all query heads.
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"
#include "nn/attention_rows.h"
#include "nn/mla.h"
#include "nn/profile.h"

namespace fathom {
namespace {

// Row h*T + t of a head-major operand is row t*H + h of the activation seen as [T*H, width].
std::vector<int32_t> head_major_rows(int64_t rows, int64_t heads) {
  std::vector<int32_t> gather(rows * heads);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t t = 0; t < rows; ++t) gather[h * rows + t] = static_cast<int32_t>(t * heads + h);
  return gather;
}

std::vector<int32_t> equal_groups(int64_t rows, int64_t heads) {
  std::vector<int32_t> offsets(heads + 1);
  for (int64_t h = 0; h <= heads; ++h) offsets[h] = static_cast<int32_t>(h * rows);
  return offsets;
}

// to[t, h*to_stride + to_offset ...] = from[h*T + t]
void from_head_major(const Tensor& from, int64_t heads, int64_t to_stride, Tensor& to) {
  const int64_t rows = to.rows(), size = dtype_bytes(to.dtype()), bytes = from.dim(1) * size;
  parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        std::memcpy(to.raw() + (t * to.row_stride() + h * to_stride) * size, from.raw() + (h * rows + t) * bytes, bytes);
  });
}

}  // namespace

AttentionLayout Mla::absorbed_layout(KvType type) const {
  AttentionLayout l;
  l.num_heads = static_cast<int>(s_.num_heads), l.num_kv_heads = 1;
  l.key_width = l.key_stride = s_.kv_lora;
  l.shared_width = s_.rope, l.shared_offset = s_.kv_lora;
  l.row_width = s_.kv_lora + s_.rope;
  l.value_width = l.value_stride = s_.kv_lora;
  l.scale = s_.softmax_scale;
  l.store = type;
  return l;
}

const Tensor& Mla::plain_kv_b() const {
  const Parameter& weight = kv_up_->weight;
  return weight.stored.empty() ? weight.value : weight.stored[0].values;
}

Tensor Mla::absorbed_key_weight() const {
  const Tensor& w = plain_kv_b();
  Tensor t = Tensor::empty({s_.num_heads, s_.kv_lora, s_.nope}, w.dtype());
  const int64_t size = dtype_bytes(w.dtype());
  parallel_for(s_.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h)
      for (int64_t n = 0; n < s_.nope; ++n) {
        const std::byte* from = w.raw() + (h * (s_.nope + s_.v) + n) * s_.kv_lora * size;
        std::byte* to = t.raw() + (h * s_.kv_lora * s_.nope + n) * size;
        for (int64_t c = 0; c < s_.kv_lora; ++c) std::memcpy(to + c * s_.nope * size, from + c * size, size);
      }
  });
  return t;
}

Tensor Mla::absorbed_value_weight() const {
  const Tensor& w = plain_kv_b();
  Tensor t = Tensor::empty({s_.num_heads, s_.v, s_.kv_lora}, w.dtype());
  for (int64_t h = 0; h < s_.num_heads; ++h) {
    const int64_t begin = h * (s_.nope + s_.v) + s_.nope;
    t.index(h).copy_from(w.slice_rows(begin, begin + s_.v));
  }
  return t;
}

void Mla::prepack_head(int64_t head, const WeightPart& uk, const WeightPart& uv, const PackOptions& packing) {
  const std::string which = "head " + std::to_string(head);
  packed_uk_.push_back(pack_stored(kv_up_->weight, which, {&uk, 1}, packing));
  packed_uv_.push_back(pack_stored(kv_up_->weight, which, {&uv, 1}, packing));
}

void Mla::prepack_absorbed_blocks(const PackOptions& packing) {
  const WeightPart& whole = kv_up_->weight.stored[0];
  for (int64_t h = 0; h < s_.num_heads; ++h) {
    const int64_t first = h * (s_.nope + s_.v);
    WeightPart uk = whole, uv = whole;
    uk.values = whole.values.slice_rows(first, first + s_.nope), uk.first_row = first, uk.transposed = true;
    uv.values = whole.values.slice_rows(first + s_.nope, first + s_.nope + s_.v), uv.first_row = first + s_.nope;
    if (!uk.blocks_fit())
      fail_usage("model", "head " + std::to_string(h) + " of '" + kv_up_->weight.name + "' lies across two FP8 blocks (rows " +
                              std::to_string(first) + " to " + std::to_string(first + s_.nope) +
                              "), so the absorbed formula cannot compute on them; use --mla expanded");
    prepack_head(h, uk, uv, packing);
  }
}

Tensor Mla::attend_absorbed(const ForwardContext& context, int layer, const Tensor& q, const Tensor& latents) const {
  const int64_t rows = q.rows(), heads = s_.num_heads, width = s_.kv_lora + s_.rope;
  const DType activation = context.activation();
  // The store: [norm(c_kv) | k_pe].
  Tensor kv = empty_kv_rows(rows, width, activation), kv_rstd = Tensor::empty({rows}, DType::kF32);
  Tensor c_kv = kv.slice_columns(0, s_.kv_lora);
  kv_norm_->forward(latents.slice_columns(kv_begin(), pe_begin()), c_kv, kv_rstd);
  kv.slice_columns(s_.kv_lora, width).copy_from(latents.slice_columns(pe_begin(), pe_begin() + s_.rope));

  const bool packed = !packed_uk_.empty();
  const auto absorbed_work = [rows](const std::vector<PackedMatrix>& matrices) {
    ProfileWork work;
    for (const PackedMatrix& m : matrices) {
      work.flops += 2 * static_cast<double>(rows * m.n() * m.k());
      work.bytes += static_cast<double>(m.bytes());
    }
    return work;
  };
  const std::vector<int32_t> gather = head_major_rows(rows, heads), offsets = equal_groups(rows, heads);
  const GroupedRows groups{offsets, gather.data()};
  // q' = [q_nope W_UK | q_pe]
  const Tensor q_rows = q.view({rows * heads, s_.nope + s_.rope});
  Tensor absorbed = Tensor::empty({heads * rows, s_.kv_lora}, activation);
  {
    ProfileScope scope("absorb.keys", absorbed_work(packed_uk_));
    grouped_forward(q_rows.slice_columns(0, s_.nope), groups,
                    {packed ? Tensor() : absorbed_key_weight(), packed ? packed_uk_.data() : nullptr}, context.compute,
                    absorbed);
  }
  Tensor queries = Tensor::empty({rows, heads * width}, activation);
  from_head_major(absorbed, heads, width, queries);
  queries.view({rows * heads, width})
      .slice_columns(s_.kv_lora, width)
      .copy_from(q_rows.slice_columns(s_.nope, s_.nope + s_.rope));

  const AttentionLayout layout = absorbed_layout(context.kv_type);
  const AttentionRows store(context, layout, layer, kv);
  Tensor attended = Tensor::empty({rows, heads * s_.kv_lora}, activation);
  {
    ProfileScope scope("forward.attention", attention_work(context, layout));
    attention_forward(layout, queries, store.sequences(), attended, nullptr);
  }
  Tensor values = Tensor::empty({heads * rows, s_.v}, activation);
  {
    ProfileScope scope("absorb.values", absorbed_work(packed_uv_));
    grouped_forward(attended.view({rows * heads, s_.kv_lora}), groups,
                    {packed ? Tensor() : absorbed_value_weight(), packed ? packed_uv_.data() : nullptr}, context.compute,
                    values);
  }
  Tensor out = Tensor::empty({rows, heads * s_.v}, activation);
  from_head_major(values, heads, s_.v, out);
  return out;
}

}  // namespace fathom
