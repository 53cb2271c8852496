#include "nn/gqa.h"

#include "nn/attention_rows.h"
#include "nn/profile.h"

namespace fathom {

Gqa::Gqa(const std::string& prefix, const GqaShape& shape)
    : s_(shape),
      qkv_({{prefix + ".q_proj", shape.num_heads * shape.head_dim},
            {prefix + ".k_proj", shape.num_kv_heads * shape.head_dim},
            {prefix + ".v_proj", shape.num_kv_heads * shape.head_dim}},
           shape.hidden, shape.qkv_bias),
      o_({{prefix + ".o_proj", shape.hidden}}, shape.num_heads * shape.head_dim) {
  if (s_.qk_norm) {
    q_norm_ = std::make_unique<RmsNorm>(prefix + ".q_norm", s_.head_dim, s_.norm_eps);
    k_norm_ = std::make_unique<RmsNorm>(prefix + ".k_norm", s_.head_dim, s_.norm_eps);
  }
}

AttentionLayout Gqa::layout(int64_t row_width, KvType type) const {
  AttentionLayout l;
  l.num_heads = static_cast<int>(s_.num_heads), l.num_kv_heads = static_cast<int>(s_.num_kv_heads);
  l.key_width = l.key_stride = l.value_width = l.value_stride = s_.head_dim;
  l.value_offset = s_.num_kv_heads * s_.head_dim;
  l.row_width = row_width;
  l.scale = s_.softmax_scale;
  l.store = type;
  return l;
}

Tensor Gqa::normed(const Tensor& projections, Tensor& rstd, bool known) const {
  const int64_t heads = s_.num_heads + s_.num_kv_heads, dim = s_.head_dim;
  Tensor out = empty_kv_rows(projections.rows(), width(), projections.dtype());
  if (!known) rstd = Tensor::empty({heads, projections.rows()}, DType::kF32);
  for (int64_t h = 0; h < heads; ++h) {
    const RmsNorm& norm = h < s_.num_heads ? *q_norm_ : *k_norm_;
    const Tensor x = projections.slice_columns(h * dim, (h + 1) * dim);
    Tensor y = out.slice_columns(h * dim, (h + 1) * dim), r = rstd.index(h);
    if (known) {
      norm.recompute(x, r, y);
    } else {
      norm.forward(x, y, r);
    }
  }
  out.slice_columns(heads * dim, width()).copy_from(projections.slice_columns(heads * dim, width()));
  return out;
}

void Gqa::rotate(const ForwardContext& context, Tensor& qkv, bool inverse) const {
  const int64_t heads = s_.num_heads + s_.num_kv_heads;
  ProfileScope scope("rope");
  Tensor q_and_k = qkv.slice_columns(0, heads * s_.head_dim);
  rope_apply(q_and_k, static_cast<int>(heads), s_.head_dim, 0, context.angles, false, inverse);
}

Tensor Gqa::forward(const ForwardContext& context, int layer, const Tensor& x, AttentionSaved* saved) {
  const int64_t rows = x.rows();
  Tensor qkv = empty_kv_rows(rows, width(), context.activation()), rstd, lse;
  qkv_.forward(x, context.compute, qkv);
  const Tensor projections = qkv;
  if (s_.qk_norm) qkv = normed(projections, rstd, false);
  rotate(context, qkv, false);
  const Tensor q = qkv.slice_columns(0, q_width()), kv = qkv.slice_columns(q_width(), width());
  const AttentionLayout rows_layout = layout(context.cache ? kv.dim(1) : kv.row_stride(), context.kv_type);
  const AttentionRows store(context, rows_layout, layer, kv);
  Tensor out = Tensor::empty({rows, q_width()}, context.activation());
  if (saved) lse = Tensor::empty({rows, s_.num_heads}, DType::kF32);
  {
    ProfileScope scope("forward.attention", attention_work(context, layout(kv.dim(1), context.kv_type)));
    attention_forward(rows_layout, q, store.sequences(), out, saved ? &lse : nullptr);
  }
  if (saved) {
    saved->qkv = projections;  // without norms: rotated in place
    saved->qk_rstd = rstd;
    saved->lse = lse;
    saved->out = out;
  }
  return output(context, out);
}

Tensor Gqa::output(const ForwardContext& context, const Tensor& out) const {
  Tensor delta = Tensor::empty({out.rows(), s_.hidden}, DType::kF32);
  o_.forward(out, context.compute, delta);
  return delta;
}

void Gqa::backward(const ForwardContext& context, AttentionSaved& saved, const Tensor& x, const Tensor& dout, Tensor& dx,
                   WeightGradients& queue) {
  const int64_t rows = x.rows(), dim = s_.head_dim, heads = s_.num_heads + s_.num_kv_heads;
  Tensor dattended = Tensor::empty({rows, q_width()}, context.activation());
  o_.backward_input(dout, context.compute, false, dattended);
  o_.backward_weight(queue.keep(dout), saved.out, context.compute, queue);

  const Tensor projections = saved.qkv;
  Tensor qkv = projections;
  if (s_.qk_norm) {
    qkv = normed(projections, saved.qk_rstd, true);
    rotate(context, qkv, false);
  }
  const Tensor q = qkv.slice_columns(0, q_width()), kv = qkv.slice_columns(q_width(), width());
  const AttentionLayout rows_layout = layout(kv.dim(1), KvType::kPlain);
  const AttentionRows store(context, rows_layout, 0, kv);
  Tensor dqkv = Tensor::empty({rows, width()}, context.activation());
  Tensor dq = dqkv.slice_columns(0, q_width()), dkv = dqkv.slice_columns(q_width(), width());
  {
    ProfileScope scope("backward.attention");
    attention_backward(rows_layout, q, kv, store.sequences(), saved.out, saved.lse, dattended, dq, dkv);
  }
  rotate(context, dqkv, true);
  if (s_.qk_norm) {
    Tensor dnormed = dqkv;
    dqkv = Tensor::empty({rows, width()}, context.activation());
    for (int64_t h = 0; h < heads; ++h) {
      RmsNorm& norm = h < s_.num_heads ? *q_norm_ : *k_norm_;
      Tensor dhead = dqkv.slice_columns(h * dim, (h + 1) * dim);
      norm.backward(dnormed.slice_columns(h * dim, (h + 1) * dim), projections.slice_columns(h * dim, (h + 1) * dim),
                    saved.qk_rstd.index(h), false, dhead);
    }
    dqkv.slice_columns(heads * dim, width()).copy_from(dnormed.slice_columns(heads * dim, width()));
  }
  qkv_.backward_input(dqkv, context.compute, false, dx);
  qkv_.backward_weight(dqkv, x, context.compute, queue);
}

void Gqa::collect(std::vector<Parameter*>& parameters) {
  qkv_.collect(parameters);
  if (q_norm_) q_norm_->collect(parameters), k_norm_->collect(parameters);
  o_.collect(parameters);
}
void Gqa::collect_named(std::vector<NamedTensor>& tensors) const {
  qkv_.collect_named(tensors);
  if (q_norm_) q_norm_->collect_named(tensors), k_norm_->collect_named(tensors);
  o_.collect_named(tensors);
}
void Gqa::prepack(const PackOptions& packing) {
  qkv_.prepack(packing);
  o_.prepack(packing);
}
void Gqa::drop_packed() {
  qkv_.drop_packed();
  o_.drop_packed();
}
void Gqa::drop_values() {
  qkv_.drop_values();
  o_.drop_values();
}

}  // namespace fathom
