#include "nn/mtp_head.h"

#include "nn/profile.h"
#include "nn/rows.h"

namespace fathom {

MtpRows::MtpRows(const Batch& from) {
  for (int64_t s = 0; s < from.num_segments(); ++s) {
    const int64_t begin = from.begins[s], end = from.begins[s + 1];
    if (end - begin < 2) continue;
    batch.add(std::span(from.ids).subspan(begin + 1, end - begin - 1), from.positions[begin]);
    for (int64_t t = begin; t + 1 < end; ++t) main.push_back(static_cast<int32_t>(t));
  }
}

MtpRows MtpRows::all(const Batch& next) {
  MtpRows rows;
  rows.batch = next;
  for (int64_t t = 0; t < next.num_rows(); ++t) rows.main.push_back(static_cast<int32_t>(t));
  return rows;
}

MtpHead::MtpHead(const std::string& prefix, int64_t hidden, double norm_eps, std::unique_ptr<Block> block, int cache_layer)
    : prefix_(prefix),
      enorm_(prefix + ".enorm", hidden, norm_eps),
      hnorm_(prefix + ".hnorm", hidden, norm_eps),
      norm_(prefix + ".shared_head.norm", hidden, norm_eps),
      eh_proj_({{prefix + ".eh_proj", hidden}}, 2 * hidden),
      block_(std::move(block)),
      cache_layer_(cache_layer) {}

Tensor MtpHead::forward(const ForwardContext& context, const MtpRows& rows, const Embedding& embedding,
                        const Tensor& main_hidden, MtpSaved* saved) {
  ProfileScope scope("forward.mtp");
  const int64_t n = rows.count(), d = main_hidden.dim(1);
  const Tensor embedded = embedding.forward(rows.batch.ids);
  Tensor hidden = Tensor::empty({n, d}, context.activation());
  gather_rows(main_hidden, rows.main, hidden);
  Tensor joined = Tensor::empty({n, 2 * d}, context.activation());
  Tensor left = joined.slice_columns(0, d), right = joined.slice_columns(d, 2 * d);
  Tensor enorm_rstd = Tensor::empty({n}, DType::kF32), hnorm_rstd = Tensor::empty({n}, DType::kF32);
  enorm_.forward(embedded, left, enorm_rstd);
  hnorm_.forward(hidden, right, hnorm_rstd);
  Tensor residual = Tensor::empty({n, d}, DType::kF32);
  eh_proj_.forward(joined, context.compute, residual);
  const Tensor delta = block_->forward(context, cache_layer_, residual, Tensor(), saved ? &saved->block : nullptr);
  Tensor out = Tensor::empty({n, d}, context.activation()), rstd = Tensor::empty({n}, DType::kF32);
  norm_.forward_residual(residual, delta, saved != nullptr, out, rstd);
  if (saved) {
    saved->embedded = embedded, saved->hidden = hidden;
    saved->enorm_rstd = enorm_rstd, saved->hnorm_rstd = hnorm_rstd;
    saved->last = residual, saved->last_rstd = rstd;
  }
  return out;
}

void MtpHead::backward(const ForwardContext& context, const MtpRows& rows, MtpSaved& saved, const Tensor& dout,
                       Embedding& embedding, Tensor& dmain_hidden, WeightGradients& queue) {
  ProfileScope scope("backward.mtp");
  const int64_t n = rows.count(), d = dout.dim(1);
  Tensor dresidual = Tensor::empty({n, d}, DType::kF32);
  norm_.backward(dout, saved.last, saved.last_rstd, false, dresidual);
  saved.last = Tensor();
  block_->backward(context, saved.block, dresidual, queue);
  Tensor joined = Tensor::empty({n, 2 * d}, context.activation());
  Tensor left = joined.slice_columns(0, d), right = joined.slice_columns(d, 2 * d);
  enorm_.recompute(saved.embedded, saved.enorm_rstd, left);
  hnorm_.recompute(saved.hidden, saved.hnorm_rstd, right);
  Tensor djoined = Tensor::empty({n, 2 * d}, DType::kF32);
  eh_proj_.backward_input(dresidual, context.compute, false, djoined);
  eh_proj_.backward_weight(dresidual, joined, context.compute, queue);
  Tensor dinput = Tensor::empty({n, d}, DType::kF32);
  hnorm_.backward(djoined.slice_columns(d, 2 * d), saved.hidden, saved.hnorm_rstd, false, dinput);
  scatter_add_rows(dinput, rows.main, dmain_hidden);
  enorm_.backward(djoined.slice_columns(0, d), saved.embedded, saved.enorm_rstd, false, dinput);
  embedding.backward(rows.batch.ids, dinput);
}

void MtpHead::collect(std::vector<Parameter*>& parameters) {
  enorm_.collect(parameters);
  hnorm_.collect(parameters);
  eh_proj_.collect(parameters);
  block_->collect(parameters);
  norm_.collect(parameters);
}
void MtpHead::collect_named(std::vector<NamedTensor>& tensors) const {
  enorm_.collect_named(tensors);
  hnorm_.collect_named(tensors);
  eh_proj_.collect_named(tensors);
  block_->collect_named(tensors);
  norm_.collect_named(tensors);
}
void MtpHead::prepack(const PackOptions& packing) {
  eh_proj_.prepack(packing);
  block_->prepack(packing);
}
void MtpHead::drop_packed() {
  eh_proj_.drop_packed();
  block_->drop_packed();
}
void MtpHead::drop_values() {
  eh_proj_.drop_values();
  block_->drop_values();
}

}  // namespace fathom
