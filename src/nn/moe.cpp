#include "nn/moe.h"

#include <algorithm>

#include "nn/profile.h"
#include "ops/swiglu/swiglu.h"

namespace fathom {

Moe::Moe(const std::string& prefix, int64_t hidden, int64_t intermediate, int64_t shared_experts, const MoeGateConfig& config)
    : prefix_(prefix), gate_(prefix + ".gate", hidden, config), counts_(Tensor::zeros({config.num_experts}, DType::kI64)) {
  gate_up_.name = prefix + ".experts.0.gate_proj.weight";
  gate_up_.shape = {config.num_experts, 2 * intermediate, hidden};
  down_.name = prefix + ".experts.0.down_proj.weight";
  down_.shape = {config.num_experts, hidden, intermediate};
  gate_up_.decay = down_.decay = true;
  if (shared_experts > 0) shared_ = std::make_unique<Mlp>(prefix + ".shared_experts", hidden, shared_experts * intermediate);
}

Tensor Moe::forward(const ForwardContext& context, const NormedRows& in, MoeSaved* saved) {
  const int64_t rows = in.x.rows(), hidden = in.x.dim(1);
  const DType activation = context.activation();
  MoeGate::Choice choice = gate_.forward(in);
  if (context.training) count_expert_load(choice.ids, counts_);
  if (context.probe) {
    context.probe->expert_ids.push_back(choice.ids);
    context.probe->expert_weights.push_back(choice.weights);
    context.probe->router_logits.push_back(choice.logits);
  }
  Tensor out = Tensor::empty({rows, hidden}, DType::kF32);
  const LinearInput x = in.x;  // a token is rounded to int8 once, not once an expert
  if (shared_) shared_->forward(context, x, saved ? &saved->shared_gate_up : nullptr, out);

  ProfileScope scope("forward.experts");
  const auto work = [](const Dispatch& dispatch, const Parameter& bank, const std::vector<PackedMatrix>& packed) {
    const double expert = static_cast<double>(bank.shape[1] * bank.shape[2]);
    double bytes = 0;
    for (size_t e = 0; e < packed.size(); ++e)
      if (dispatch.offsets[e + 1] > dispatch.offsets[e]) bytes += static_cast<double>(packed[e].bytes());
    return ProfileWork{2 * expert * static_cast<double>(dispatch.rows.size()), bytes};
  };
  Dispatch dispatch = make_dispatch(choice.ids, static_cast<int>(experts()));
  if (context.reads) {
    const auto bytes = [&](const Parameter& bank, const std::vector<PackedMatrix>& packed, size_t e) {
      return packed.empty() ? bank.value.bytes() / experts() : packed[e].bytes();
    };
    for (size_t e = 0; e < static_cast<size_t>(experts()); ++e) {
      if (dispatch.offsets[e + 1] == dispatch.offsets[e]) continue;
      ++context.reads->experts;
      context.reads->bytes += bytes(gate_up_, packed_gate_up_, e) + bytes(down_, packed_down_, e);
    }
  }
  const int64_t routed_rows = rows * dispatch.top_k;
  const Tensor scale = dispatch_weights(dispatch, choice.weights);
  Tensor gate_up = Tensor::empty({routed_rows, 2 * intermediate()}, activation);
  {
    ProfileScope product("experts.gate_up", work(dispatch, gate_up_, packed_gate_up_));
    grouped_forward(x, {dispatch.offsets, dispatch.rows.data()},
                    {gate_up_.value, packed_gate_up_.empty() ? nullptr : packed_gate_up_.data()}, context.compute, gate_up);
    add_input_gram(gate_up_, in.x, {dispatch.offsets, dispatch.rows.data()}, context.compute);
  }
  Tensor act = Tensor::empty({routed_rows, intermediate()}, activation);
  {
    ProfileScope swiglu("swiglu");
    swiglu_forward(gate_up, &scale, act);
  }
  Tensor routed = Tensor::empty({routed_rows, hidden}, activation);
  {
    ProfileScope product("experts.down", work(dispatch, down_, packed_down_));
    grouped_forward(act, {dispatch.offsets}, {down_.value, packed_down_.empty() ? nullptr : packed_down_.data()},
                    context.compute, routed);
    add_input_gram(down_, act, {dispatch.offsets}, context.compute);
  }
  {
    ProfileScope combine("combine");
    combine_forward(dispatch, routed, shared_ != nullptr, out);
  }
  if (saved) {
    saved->choice = std::move(choice);
    saved->dispatch = std::move(dispatch);
    saved->gate_up = gate_up;
  }
  return out;
}

void Moe::backward(const ForwardContext& context, MoeSaved& saved, const NormedRows& in, const Tensor& dout, Tensor& dx,
                   WeightGradients& queue) {
  const int64_t rows = in.x.rows(), hidden = in.x.dim(1);
  const DType activation = context.activation();
  if (shared_) shared_->backward(context, saved.shared_gate_up, in.x, dout, dx, queue);
  saved.shared_gate_up = Tensor();

  const auto dispatch = std::make_shared<Dispatch>(std::move(saved.dispatch));  // weight gradients may come later
  const int64_t routed_rows = rows * dispatch->top_k;
  const Tensor scale = dispatch_weights(*dispatch, saved.choice.weights);
  Tensor dscale = Tensor::empty({routed_rows}, DType::kF32);
  Tensor gate_up = std::move(saved.gate_up);
  {
    ProfileScope scope("backward.experts");
    Tensor dact = Tensor::empty({routed_rows, intermediate()}, activation);
    const auto work = [rows = static_cast<double>(routed_rows)](const Parameter& bank) {
      return ProfileWork{2 * rows * static_cast<double>(bank.shape[1] * bank.shape[2]), 0};
    };
    {
      ProfileScope product("backward.experts.input", work(down_));
      grouped_matmul_backward_input(dout, {dispatch->offsets, nullptr, dispatch->rows.data()}, {down_.value}, context.compute,
                                    dact);
    }
    {
      ProfileScope swiglu("backward.swiglu");
      swiglu_backward(dact, gate_up, &scale, gate_up, &dact, &dscale);
    }
    const Tensor act = dact;
    queue.run([this, dispatch, work, dout = queue.keep(dout), act, compute = context.compute] {
      ProfileScope product("backward.experts.weight", work(down_));
      grouped_matmul_backward_weight(dout, act, {dispatch->offsets, nullptr, dispatch->rows.data()}, compute,
                                     down_.accumulate(), down_.grad);
    });
    queue.run([this, dispatch, work, gate_up, x = in.x, compute = context.compute] {
      ProfileScope product("backward.experts.weight", work(gate_up_));
      grouped_matmul_backward_weight(gate_up, x, {dispatch->offsets, dispatch->rows.data()}, compute, gate_up_.accumulate(),
                                     gate_up_.grad);
    });
    Tensor dx_routed = Tensor::empty({routed_rows, hidden}, activation);
    {
      ProfileScope product("backward.experts.input", work(gate_up_));
      grouped_matmul_backward_input(gate_up, {dispatch->offsets}, {gate_up_.value}, context.compute, dx_routed);
    }
    ProfileScope combine("combine");
    combine_forward(*dispatch, dx_routed, shared_ != nullptr, dx);
  }
  Tensor dweights = Tensor::empty(saved.choice.weights.shape(), DType::kF32);
  undispatch_weights(*dispatch, dscale, dweights);
  gate_.backward(context, saved.choice, in, dweights, dx, queue);
}

void Moe::collect(std::vector<Parameter*>& parameters) {
  gate_.collect(parameters);
  parameters.push_back(&gate_up_);
  parameters.push_back(&down_);
  if (shared_) shared_->collect(parameters);
}

void Moe::collect_named(std::vector<NamedTensor>& tensors) const {
  gate_.collect_named(tensors);
  const auto expert = [](const Tensor& bank, int64_t e) { return bank.defined() ? bank.index(e) : Tensor(); };
  const auto rows = [](const Tensor& t, int64_t begin, int64_t end) {
    return t.defined() ? t.slice_rows(begin, end) : Tensor();
  };
  const int64_t width = intermediate();
  for (int64_t e = 0; e < experts(); ++e) {
    const std::string name = prefix_ + ".experts." + std::to_string(e);
    const Tensor value = expert(gate_up_.value, e), grad = expert(gate_up_.grad, e);
    const Shape up = {width, gate_up_.shape[2]}, down = {down_.shape[1], width};
    tensors.push_back({name + ".gate_proj.weight", rows(value, 0, width), rows(grad, 0, width), up, &gate_up_, 2 * e});
    tensors.push_back(
        {name + ".up_proj.weight", rows(value, width, 2 * width), rows(grad, width, 2 * width), up, &gate_up_, 2 * e + 1});
    tensors.push_back({name + ".down_proj.weight", expert(down_.value, e), expert(down_.grad, e), down, &down_, e});
  }
  if (shared_) shared_->collect_named(tensors);
}

int64_t Moe::weight_bytes() const {
  int64_t banks = 0;
  for (const Parameter* bank : {&gate_up_, &down_})
    if (bank->value.defined()) banks += bank->value.bytes();
  if (!packed_gate_up_.empty()) banks = 0;
  for (const auto* bank : {&packed_gate_up_, &packed_down_})
    for (const PackedMatrix& expert : *bank) banks += expert.bytes();
  return banks / experts() * gate_.config().top_k + gate_.weight_bytes() + (shared_ ? shared_->weight_bytes() : 0);
}

void Moe::prepack(const PackOptions& packing) {
  drop_packed();
  gate_.prepack();
  const auto pack = [&](Parameter& bank, int64_t e, int64_t parts) {  // of one expert
    if (bank.stored.empty()) {
      WeightPart whole;
      whole.values = bank.value.index(e);
      return pack_quantised(bank.name, {&whole, 1}, packing);
    }
    PackedMatrix packed = pack_parts(bank, e * parts, (e + 1) * parts, packing);
    std::fill_n(bank.stored.begin() + e * parts, parts, WeightPart());
    return packed;
  };
  for (int64_t e = 0; e < experts(); ++e) {
    packed_gate_up_.push_back(pack(gate_up_, e, 2));
    packed_down_.push_back(pack(down_, e, 1));
  }
  for (Parameter* bank : {&gate_up_, &down_}) bank->stored.clear();
  if (shared_) shared_->prepack(packing);
}
void Moe::drop_packed() {
  gate_.drop_packed();
  packed_gate_up_.clear();
  packed_down_.clear();
  if (shared_) shared_->drop_packed();
}
void Moe::drop_values() {
  gate_.drop_values();
  for (Parameter* bank : {&gate_up_, &down_}) bank->value = Tensor();
  if (shared_) shared_->drop_values();
}

}  // namespace fathom
