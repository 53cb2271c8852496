#include <algorithm>
#include <string>

#include "base/error.h"
#include "model/decoder_impl.h"
#include "nn/profile.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {

void Decoder::Impl::check_batch(const Batch& batch) const {
  CHECK(batch.positions.size() == batch.ids.size());
  CHECK_EQ(batch.begins.back(), batch.num_rows());
  for (const int32_t id : batch.ids)
    if (id < 0 || id >= config.vocab_size)
      fail_usage("model",
                 "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(config.vocab_size));
}

ForwardContext Decoder::Impl::context(const Batch& batch, KvView* cache) const {
  CHECK(prepacked || numerics.activations == Activations::k16Bit);  // int8 rows are for packed weights
  ForwardContext c;
  c.compute = numerics.compute;
  c.mla = numerics.mla;
  c.kv_type = numerics.cache;
  c.batch = &batch;
  c.angles = make_rope_angles(rope, batch.positions);
  c.cache = cache;
  return c;
}

Tensor Decoder::Impl::forward(const ForwardContext& c, Saved* saved) {
  Tensor residual = embedding->forward(c.batch->ids);
  if (probe) probe->embeddings = residual.clone();
  if (saved) saved->blocks.resize(blocks.size());
  Tensor delta;
  for (size_t l = 0; l < blocks.size(); ++l) {
    delta = blocks[l]->forward(c, static_cast<int>(l), residual, delta, saved ? &saved->blocks[l] : nullptr);
    if (probe) probe->layer_outputs.push_back(add_residual(residual, delta));
  }
  Tensor hidden = Tensor::empty(residual.shape(), c.activation()), rstd = Tensor::empty({residual.rows()}, DType::kF32);
  norm->forward_residual(residual, delta, saved != nullptr, hidden, rstd);
  if (saved) saved->last = residual, saved->last_rstd = rstd;
  if (probe) probe->final_norm = hidden.to(DType::kF32);
  return hidden;
}

Tensor Decoder::forward(const Batch& batch, KvView* cache) {
  impl_->check_batch(batch);
  ProfileScope scope("forward");
  ForwardContext c = impl_->context(batch, cache);
  c.reads = impl_->reads;
  RouterProbe router;
  if (impl_->probe) {
    *impl_->probe = Probe();
    c.probe = &router;
  }
  Tensor hidden = impl_->forward(c, nullptr);
  if (Probe* p = impl_->probe) {
    p->expert_ids = std::move(router.expert_ids);
    p->expert_weights = std::move(router.expert_weights);
    p->router_logits = std::move(router.router_logits);
    for (int l = 0; l < static_cast<int>(impl_->blocks.size()); ++l)
      if (impl_->blocks[l]->moe()) p->moe_layers.push_back(l);
  }
  return hidden;
}

void Decoder::set_probe(Probe* probe) { impl_->probe = probe; }
void Decoder::set_expert_reads(ExpertReads* reads) { impl_->reads = reads; }

void Decoder::Impl::head_forward(const Tensor& hidden, Tensor& logits) {
  ProfileScope scope("forward.head");
  if (head) return head->forward(hidden, numerics.compute, logits);
  matmul_forward(hidden, {embedding->table.value, packed_tied_head.defined() ? &packed_tied_head : nullptr}, nullptr,
                 numerics.compute, logits);
}

Tensor Decoder::logits(const Tensor& hidden) {
  Tensor logits = Tensor::empty({hidden.rows(), impl_->config.vocab_size}, DType::kF32);
  impl_->head_forward(hidden, logits);
  return logits;
}

int64_t Decoder::Impl::logits_rows() const {
  // Each chunk reads the head's weight, and in training reads and writes its gradient: as few as memory beside the weights
  // allows.
  const int64_t bytes = std::clamp<int64_t>(config.count_parameters().total * 4 / 24, int64_t{16} << 20, int64_t{64} << 20);
  return std::clamp<int64_t>(bytes / (4 * config.vocab_size), 64, 1024);
}

Tensor Decoder::mtp_logits(const Batch& batch, const Tensor& hidden) {
  if (!impl_->mtp) fail_usage("model", "this model has no MTP module (num_nextn_predict_layers is 0)");
  CHECK_EQ(hidden.rows(), batch.num_rows());
  const MtpRows rows(batch);
  Tensor all = Tensor::zeros({batch.num_rows(), impl_->config.vocab_size}, DType::kF32);
  if (rows.count() == 0) return all;
  const ForwardContext c = impl_->context(rows.batch, nullptr);
  const Tensor predicted = logits(impl_->mtp->forward(c, rows, *impl_->embedding, hidden, nullptr));
  for (int64_t i = 0; i < rows.count(); ++i)
    all.slice_rows(rows.main[i], rows.main[i] + 1).copy_from(predicted.slice_rows(i, i + 1));
  return all;
}

Tensor Decoder::mtp_forward(const Batch& batch, const Tensor& hidden, KvView* cache) {
  CHECK(impl_->mtp && cache);
  CHECK_EQ(hidden.rows(), batch.num_rows());
  impl_->check_batch(batch);
  const MtpRows rows = MtpRows::all(batch);
  return impl_->mtp->forward(impl_->context(rows.batch, cache), rows, *impl_->embedding, hidden, nullptr);
}

std::vector<float> Decoder::token_log_probs(const Batch& batch, std::span<const int32_t> targets) {
  CHECK_EQ(targets.size(), batch.num_rows());
  const Tensor hidden = forward(batch, nullptr);
  std::vector<float> logp(targets.size());
  const int64_t rows = batch.num_rows(), step = impl_->logits_rows(), vocab = impl_->config.vocab_size;
  Tensor buffer = Tensor::empty({std::min(rows, step), vocab}, DType::kF32);
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step);
    Tensor chunk = buffer.slice_rows(0, end - begin);
    impl_->head_forward(hidden.slice_rows(begin, end), chunk);
    Tensor out = Tensor::wrap(logp.data() + begin, {end - begin}, DType::kF32);
    fathom::token_log_probs(chunk, targets.subspan(begin, end - begin), vocab, out);
  }
  return logp;
}

}  // namespace fathom
