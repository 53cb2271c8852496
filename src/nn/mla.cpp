#include "nn/mla.h"

#include "nn/attention_rows.h"
#include "nn/profile.h"
#include "nn/rows.h"

namespace fathom {
namespace {
constexpr double kInnerNormEps = 1e-6;  // whatever rms_norm_eps says (architecture.md §1.2)
}

Mla::Mla(const std::string& prefix, const MlaShape& shape) : s_(shape) {
  std::vector<Linear::Part> down;
  if (s_.q_lora > 0) down.push_back({prefix + ".q_a_proj", s_.q_lora});
  down.push_back({prefix + ".kv_a_proj_with_mqa", s_.kv_lora + s_.rope});
  down_ = std::make_unique<Linear>(down, s_.hidden);
  const int64_t query_width = s_.num_heads * (s_.nope + s_.rope);
  if (s_.q_lora > 0) {
    q_norm_ = std::make_unique<RmsNorm>(prefix + ".q_a_layernorm", s_.q_lora, kInnerNormEps);
    q_up_ = std::make_unique<Linear>(std::vector<Linear::Part>{{prefix + ".q_b_proj", query_width}}, s_.q_lora);
  } else {
    q_up_ = std::make_unique<Linear>(std::vector<Linear::Part>{{prefix + ".q_proj", query_width}}, s_.hidden);
  }
  kv_norm_ = std::make_unique<RmsNorm>(prefix + ".kv_a_layernorm", s_.kv_lora, kInnerNormEps);
  kv_up_ = std::make_unique<Linear>(std::vector<Linear::Part>{{prefix + ".kv_b_proj", kv_width()}}, s_.kv_lora);
  o_ = std::make_unique<Linear>(std::vector<Linear::Part>{{prefix + ".o_proj", s_.hidden}}, s_.num_heads * s_.v);
}

int64_t Mla::weight_bytes() const {
  int64_t bytes = down_->weight_bytes() + q_up_->weight_bytes() + o_->weight_bytes();
  if (packed_uk_.empty()) bytes += kv_up_->weight_bytes();
  for (const auto* heads : {&packed_uk_, &packed_uv_})
    for (const PackedMatrix& head : *heads) bytes += head.bytes();
  return bytes;
}

AttentionLayout Mla::expanded_layout(KvType type) const {
  AttentionLayout l;
  l.num_heads = l.num_kv_heads = static_cast<int>(s_.num_heads);
  l.key_width = s_.nope, l.key_stride = s_.nope + s_.v;
  l.shared_width = s_.rope, l.shared_offset = kv_width();
  l.value_width = s_.v, l.value_offset = s_.nope, l.value_stride = s_.nope + s_.v;
  l.row_width = kv_width() + s_.rope;
  l.scale = s_.softmax_scale;
  l.store = type;
  return l;
}

Tensor Mla::down_project(const ForwardContext& context, const LinearInput& x) const {
  Tensor latents = Tensor::empty({x.rows(), down_->out()}, DType::kF32);
  down_->forward(x, context.compute, latents);
  Tensor pe = latents.slice_columns(pe_begin(), pe_begin() + s_.rope);
  ProfileScope scope("rope");
  rope_apply(pe, 1, s_.rope, 0, context.angles, true, false);
  return latents;
}

Mla::Queries Mla::queries(const ForwardContext& context, const LinearInput& x, const Tensor& latents, Tensor& rstd,
                          bool known) const {
  Queries r;
  Tensor rotated = Tensor::empty({x.rows(), q_up_->out()}, DType::kF32);  // rounded once, after the rotation
  if (s_.q_lora > 0) {
    const Tensor q_a = latents.slice_columns(0, s_.q_lora);
    r.c_q = Tensor::empty({x.rows(), s_.q_lora}, context.activation());
    if (known) {
      q_norm_->recompute(q_a, rstd, r.c_q);
    } else {
      rstd = Tensor::empty({x.rows()}, DType::kF32);
      q_norm_->forward(q_a, r.c_q, rstd);
    }
  }
  q_up_->forward(s_.q_lora > 0 ? LinearInput(r.c_q) : x, context.compute, rotated);
  ProfileScope scope("rope");
  rope_apply(rotated, static_cast<int>(s_.num_heads), s_.nope + s_.rope, s_.nope, context.angles, true, false);
  if (context.activation() == DType::kF32) {
    r.q = rotated;
  } else {
    r.q = Tensor::empty(rotated.shape(), context.activation());
    convert_rows(rotated, r.q);
  }
  return r;
}

Tensor Mla::expanded_rows(const ForwardContext& context, const Tensor& latents, Tensor& rstd, bool known, Tensor& c_kv) const {
  const int64_t rows = latents.rows();
  const Tensor kv_a = latents.slice_columns(kv_begin(), pe_begin());
  c_kv = Tensor::empty({rows, s_.kv_lora}, context.activation());
  if (known) {
    kv_norm_->recompute(kv_a, rstd, c_kv);
  } else {
    rstd = Tensor::empty({rows}, DType::kF32);
    kv_norm_->forward(kv_a, c_kv, rstd);
  }
  Tensor kv = empty_kv_rows(rows, kv_width() + s_.rope, context.activation());
  Tensor heads = kv.slice_columns(0, kv_width());
  kv_up_->forward(c_kv, context.compute, heads);
  kv.slice_columns(kv_width(), kv_width() + s_.rope).copy_from(latents.slice_columns(pe_begin(), pe_begin() + s_.rope));
  return kv;
}

Tensor Mla::attend_expanded(const ForwardContext& context, int layer, const Tensor& q, const Tensor& latents,
                            AttentionSaved* saved) const {
  Tensor c_kv, kv_rstd, lse;
  const Tensor kv = expanded_rows(context, latents, kv_rstd, false, c_kv);
  const AttentionLayout layout = expanded_layout(context.kv_type);
  const AttentionRows rows(context, layout, layer, kv);
  Tensor out = Tensor::empty({q.rows(), s_.num_heads * s_.v}, context.activation());
  if (saved) lse = Tensor::empty({q.rows(), s_.num_heads}, DType::kF32);
  {
    ProfileScope scope("forward.attention", attention_work(context, layout));
    attention_forward(layout, q, rows.sequences(), out, saved ? &lse : nullptr);
  }
  if (saved) {
    saved->kv_rstd = kv_rstd;
    saved->lse = lse;
    saved->out = out;
  }
  return out;
}

Tensor Mla::forward(const ForwardContext& context, int layer, const Tensor& x, AttentionSaved* saved) {
  Tensor q_rstd;
  const LinearInput input = x;
  const Tensor latents = down_project(context, input);
  const Queries queries_of_x = queries(context, input, latents, q_rstd, false);
  Tensor out;
  if (context.mla == MlaFormula::kExpanded) {
    out = attend_expanded(context, layer, queries_of_x.q, latents, saved);
  } else {
    CHECK(!saved);  // the decoder refuses to train with the absorbed formula
    out = attend_absorbed(context, layer, queries_of_x.q, latents);
  }
  if (saved) {
    saved->latents = latents;
    saved->q_rstd = q_rstd;
    if (s_.q_lora == 0) saved->q = queries_of_x.q;
  }
  return output(context, out);
}

Tensor Mla::output(const ForwardContext& context, const Tensor& out) const {
  Tensor delta = Tensor::empty({out.rows(), s_.hidden}, DType::kF32);
  o_->forward(out, context.compute, delta);
  return delta;
}

void Mla::backward(const ForwardContext& context, AttentionSaved& saved, const Tensor& x, const Tensor& dout, Tensor& dx,
                   WeightGradients& queue) {
  const int64_t rows = x.rows();
  const DType activation = context.activation();
  Tensor dattended = Tensor::empty({rows, s_.num_heads * s_.v}, activation);
  o_->backward_input(dout, context.compute, false, dattended);
  o_->backward_weight(queue.keep(dout), saved.out, context.compute, queue);

  Tensor c_kv;
  Queries again;
  if (s_.q_lora > 0) {
    again = queries(context, x, saved.latents, saved.q_rstd, true);
  } else {
    again.q = std::move(saved.q);
  }
  const Tensor kv = expanded_rows(context, saved.latents, saved.kv_rstd, true, c_kv);
  const AttentionLayout layout = expanded_layout(KvType::kPlain);
  const AttentionRows store(context, layout, 0, kv);
  Tensor dq = Tensor::empty(again.q.shape(), activation), dkv = Tensor::empty({rows, kv.dim(1)}, activation);
  {
    ProfileScope scope("backward.attention");
    attention_backward(layout, again.q, kv, store.sequences(), saved.out, saved.lse, dattended, dq, dkv);
  }
  rope_apply(dq, static_cast<int>(s_.num_heads), s_.nope + s_.rope, s_.nope, context.angles, true, true);

  Tensor dlatents = Tensor::empty(saved.latents.shape(), DType::kF32);
  Tensor dpe = dlatents.slice_columns(pe_begin(), pe_begin() + s_.rope);
  dpe.copy_from(dkv.slice_columns(kv_width(), kv_width() + s_.rope));
  rope_apply(dpe, 1, s_.rope, 0, context.angles, true, true);

  const Tensor dheads = dkv.slice_columns(0, kv_width());
  Tensor dc_kv = Tensor::empty({rows, s_.kv_lora}, DType::kF32);
  kv_up_->backward_input(dheads, context.compute, false, dc_kv);
  kv_up_->backward_weight(dheads, c_kv, context.compute, queue);
  Tensor dkv_a = dlatents.slice_columns(kv_begin(), pe_begin());
  kv_norm_->backward(dc_kv, saved.latents.slice_columns(kv_begin(), pe_begin()), saved.kv_rstd, false, dkv_a);

  if (s_.q_lora > 0) {
    Tensor dc_q = Tensor::empty({rows, s_.q_lora}, DType::kF32);
    q_up_->backward_input(dq, context.compute, false, dc_q);
    q_up_->backward_weight(dq, again.c_q, context.compute, queue);
    Tensor dq_a = dlatents.slice_columns(0, s_.q_lora);
    q_norm_->backward(dc_q, saved.latents.slice_columns(0, s_.q_lora), saved.q_rstd, false, dq_a);
  }
  down_->backward_input(dlatents, context.compute, false, dx);
  down_->backward_weight(dlatents, x, context.compute, queue);
  if (s_.q_lora == 0) {
    q_up_->backward_input(dq, context.compute, true, dx);
    q_up_->backward_weight(dq, x, context.compute, queue);
  }
}

void Mla::collect(std::vector<Parameter*>& parameters) {
  down_->collect(parameters);
  if (q_norm_) q_norm_->collect(parameters);
  q_up_->collect(parameters);
  kv_norm_->collect(parameters);
  kv_up_->collect(parameters);
  o_->collect(parameters);
}

void Mla::collect_named(std::vector<NamedTensor>& tensors) const {
  down_->collect_named(tensors);
  if (q_norm_) q_norm_->collect_named(tensors);
  q_up_->collect_named(tensors);
  kv_norm_->collect_named(tensors);
  kv_up_->collect_named(tensors);
  o_->collect_named(tensors);
}

void Mla::drop_packed() {
  for (Linear* l : {down_.get(), q_up_.get(), kv_up_.get(), o_.get()}) l->drop_packed();
  packed_uk_.clear();
  packed_uv_.clear();
}

void Mla::drop_values() {
  for (Linear* l : {down_.get(), q_up_.get(), kv_up_.get(), o_.get()}) l->drop_values();
}

void Mla::prepack(const PackOptions& packing) {
  drop_packed();
  for (Linear* l : {down_.get(), q_up_.get(), o_.get()}) l->prepack(packing);
  const auto& stored = kv_up_->weight.stored;
  if (packing.mla == MlaFormula::kExpanded) {
    kv_up_->prepack(packing);
  } else if (stored.size() > 1) {
    for (int64_t h = 0; h < s_.num_heads; ++h)
      prepack_head(h, stored[static_cast<size_t>(2 * h)], stored[static_cast<size_t>(2 * h + 1)], packing);
  } else if (!stored.empty() && stored[0].is_fp8()) {
    prepack_absorbed_blocks(packing);
  } else {
    WeightPart uk, uv;
    const Tensor keys = absorbed_key_weight(), values = absorbed_value_weight();
    for (int64_t h = 0; h < s_.num_heads; ++h) {
      uk.values = keys.index(h), uv.values = values.index(h);
      prepack_head(h, uk, uv, packing);
    }
  }
  kv_up_->weight.stored.clear();
}

}  // namespace fathom
