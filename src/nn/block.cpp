#include "nn/block.h"

#include "nn/profile.h"

namespace fathom {

Block::Block(const std::string& prefix, int64_t hidden, double norm_eps, std::unique_ptr<AttentionModule> attention,
             std::unique_ptr<Mlp> mlp, std::unique_ptr<Moe> moe)
    : prefix_(prefix),
      input_norm_(prefix + ".input_layernorm", hidden, norm_eps),
      post_norm_(prefix + ".post_attention_layernorm", hidden, norm_eps),
      attention_(std::move(attention)),
      mlp_(std::move(mlp)),
      moe_(std::move(moe)) {
  CHECK((mlp_ != nullptr) != (moe_ != nullptr));
}

Tensor Block::forward(const ForwardContext& context, int layer, Tensor& residual, const Tensor& delta, BlockSaved* saved) {
  const int64_t rows = residual.rows();
  const bool keep = saved != nullptr;
  Tensor x = Tensor::empty(residual.shape(), context.activation()), rstd = Tensor::empty({rows}, DType::kF32);
  input_norm_.forward_residual(residual, delta, false, x, rstd);
  if (saved) saved->attention_in = residual, saved->attention_rstd = rstd;
  Tensor attended;
  {
    ProfileScope scope("forward.attention_module");
    attended = attention_->forward(context, layer, x, saved ? &saved->attention : nullptr);
  }
  NormedRows normed{&post_norm_, {}, Tensor::empty({rows}, DType::kF32), x};  // x is read no more
  post_norm_.forward_residual(residual, attended, keep, normed.x, normed.rstd);
  normed.residual = residual;
  if (saved) saved->ffn_rstd = normed.rstd;
  if (moe_) return moe_->forward(context, normed, saved ? &saved->moe : nullptr);
  Tensor out = attended;  // added already: its memory is free
  mlp_->forward(context, normed.x, saved ? &saved->gate_up : nullptr, out);
  return out;
}

void Block::backward(const ForwardContext& context, BlockSaved& saved, Tensor& dresidual, WeightGradients& queue) {
  Tensor dx = Tensor::empty(dresidual.shape(), DType::kF32);
  Tensor residual = attention_->output(context, saved.attention.out);
  add_residual(saved.attention_in, residual, residual);
  NormedRows normed{&post_norm_, std::move(residual), saved.ffn_rstd, Tensor::empty(dresidual.shape(), context.activation())};
  post_norm_.recompute(normed.residual, normed.rstd, normed.x);
  if (moe_) {
    moe_->backward(context, saved.moe, normed, dresidual, dx, queue);
  } else {
    mlp_->backward(context, saved.gate_up, normed.x, dresidual, dx, queue);
  }
  post_norm_.backward(dx, normed.residual, normed.rstd, true, dresidual);
  saved.gate_up = normed.residual = Tensor();
  saved.moe = MoeSaved();

  Tensor x = queue.keep(normed.x);  // a new tensor where the old one is still wanted
  input_norm_.recompute(saved.attention_in, saved.attention_rstd, x);
  {
    ProfileScope scope("backward.attention_module");
    attention_->backward(context, saved.attention, x, dresidual, dx, queue);
  }
  input_norm_.backward(dx, saved.attention_in, saved.attention_rstd, true, dresidual);
  saved = BlockSaved();
}

void Block::collect(std::vector<Parameter*>& parameters) {
  input_norm_.collect(parameters);
  attention_->collect(parameters);
  post_norm_.collect(parameters);
  if (moe_) {
    moe_->collect(parameters);
  } else {
    mlp_->collect(parameters);
  }
}
void Block::collect_named(std::vector<NamedTensor>& tensors) const {
  input_norm_.collect_named(tensors);
  attention_->collect_named(tensors);
  post_norm_.collect_named(tensors);
  if (moe_) {
    moe_->collect_named(tensors);
  } else {
    mlp_->collect_named(tensors);
  }
}
void Block::prepack(const PackOptions& packing) {
  attention_->prepack(packing);
  if (moe_) {
    moe_->prepack(packing);
  } else {
    mlp_->prepack(packing);
  }
}
void Block::drop_packed() {
  attention_->drop_packed();
  if (moe_) {
    moe_->drop_packed();
  } else {
    mlp_->drop_packed();
  }
}
void Block::drop_values() {
  attention_->drop_values();
  if (moe_) {
    moe_->drop_values();
  } else {
    mlp_->drop_values();
  }
}

}  // namespace fathom
