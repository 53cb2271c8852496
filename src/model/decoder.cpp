// Construction and weights. The forward is decoder_forward.cpp, training decoder_train.cpp.
#include "model/decoder.h"

#include <cmath>

#include "backend/cpu/isa.h"
#include "base/error.h"
#include "base/mapping_guard.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "model/decoder_impl.h"
#include "nn/gqa.h"
#include "nn/mla.h"

namespace fathom {
namespace {

std::unique_ptr<AttentionModule> make_attention(const ModelConfig& c, const std::string& prefix) {
  // The softmax scale's YaRN factor is DeepSeek's own; where other models name mscale, cos and sin alone carry it
  // (transformers).
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.query_head_dim())) *
                                         (c.is_mla() ? rope_softmax_factor(c.rope_scaling) : 1));
  if (c.is_mla()) {
    MlaShape s;
    s.hidden = c.hidden_size, s.num_heads = c.num_attention_heads, s.q_lora = c.q_lora_rank, s.kv_lora = c.kv_lora_rank;
    s.nope = c.qk_nope_head_dim, s.rope = c.qk_rope_head_dim, s.v = c.v_head_dim, s.softmax_scale = scale;
    return std::make_unique<Mla>(prefix, s);
  }
  GqaShape s;
  s.hidden = c.hidden_size, s.num_heads = c.num_attention_heads, s.num_kv_heads = c.num_key_value_heads,
  s.head_dim = c.head_dim;
  s.qkv_bias = c.qkv_bias(), s.qk_norm = c.qk_norm(), s.norm_eps = c.rms_norm_eps, s.softmax_scale = scale;
  return std::make_unique<Gqa>(prefix, s);
}

std::unique_ptr<Block> make_block(const ModelConfig& c, int64_t layer) {
  const std::string prefix = "model.layers." + std::to_string(layer);
  std::unique_ptr<Mlp> mlp;
  std::unique_ptr<Moe> moe;
  if (c.is_moe_layer(layer)) {
    moe = std::make_unique<Moe>(prefix + ".mlp", c.hidden_size, c.moe_intermediate_size, c.n_shared_experts, c.gate());
  } else {
    mlp = std::make_unique<Mlp>(prefix + ".mlp", c.hidden_size, c.intermediate_size);
  }
  return std::make_unique<Block>(prefix, c.hidden_size, c.rms_norm_eps, make_attention(c, prefix + ".self_attn"),
                                 std::move(mlp), std::move(moe));
}

uint64_t hash_name(const std::string& name) {  // FNV-1a
  uint64_t h = 14695981039346656037ull;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return h;
}

}  // namespace

std::string Numerics::identity() const {
  return std::string(isa_name(isa())) + (compute == Compute::kF32 ? "/f32" : "/bf16") +
         (mla == MlaFormula::kExpanded ? "/expanded" : "/absorbed") +
         (weights == WeightFormat::kPlain ? "" : "/" + std::string(weight_format_name(weights))) +
         (cache == KvType::kPlain ? "" : "/cache-" + std::string(kv_type_name(cache))) +
         (activations == Activations::k16Bit ? "" : "/activations-int8-groups");
}

Decoder::Impl::Impl(ModelConfig model_config, Numerics run_numerics) : config(std::move(model_config)), numerics(run_numerics) {
  config.validate("model");
  rope = make_rope_table(static_cast<int>(config.is_mla() ? config.qk_rope_head_dim : config.head_dim), config.rope_theta,
                         config.rope_scaling);
  embedding = std::make_unique<Embedding>("model.embed_tokens", config.vocab_size, config.hidden_size);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) blocks.push_back(make_block(config, l));
  norm = std::make_unique<RmsNorm>("model.norm", config.hidden_size, config.rms_norm_eps);
  if (!config.tie_word_embeddings)
    head = std::make_unique<Linear>(std::vector<Linear::Part>{{"lm_head", config.vocab_size}}, config.hidden_size);
  if (config.num_nextn_predict_layers > 0) {
    const int64_t layer = config.num_hidden_layers;
    mtp = std::make_unique<MtpHead>("model.layers." + std::to_string(layer), config.hidden_size, config.rms_norm_eps,
                                    make_block(config, layer), static_cast<int>(layer));
  }
  const auto add_load = [this](Block& block) {
    if (Moe* moe = block.moe()) loads.push_back({block.prefix(), moe->load_counts(), moe->correction_bias()});
  };
  for (auto& block : blocks) add_load(*block);
  if (mtp) add_load(mtp->block());
}

Decoder::Decoder(ModelConfig config, Numerics numerics)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(numerics))) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

const ModelConfig& Decoder::config() const { return impl_->config; }
const Numerics& Decoder::numerics() const { return impl_->numerics; }

std::vector<Parameter*> Decoder::parameters() {
  std::vector<Parameter*> list{&impl_->embedding->table};
  for (auto& block : impl_->blocks) block->collect(list);
  impl_->norm->collect(list);
  if (impl_->head) impl_->head->collect(list);
  if (impl_->mtp) impl_->mtp->collect(list);
  return list;
}

std::vector<NamedTensor> Decoder::named_tensors() {
  std::vector<NamedTensor> list{named_whole(impl_->embedding->table)};
  for (auto& block : impl_->blocks) block->collect_named(list);
  impl_->norm->collect_named(list);
  if (impl_->head) impl_->head->collect_named(list);
  if (impl_->mtp) {
    impl_->mtp->collect_named(list);
    // The published MTP layer holds copies of the shared embedding and head (architecture.md §2.1): here the same memory.
    NamedTensor table = named_whole(impl_->embedding->table), head = named_whole(impl_->head_weight());
    table.name = impl_->mtp->prefix() + ".embed_tokens.weight";
    head.name = impl_->mtp->prefix() + ".shared_head.head.weight";
    list.push_back(table);
    list.push_back(head);
  }
  return list;
}

void Decoder::allocate(DType dtype) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  drop_packed();
  for (Parameter* p : parameters()) {
    if (!p->stored.empty()) continue;
    p->value = Tensor::empty(p->shape, p->always_f32 ? DType::kF32 : dtype);
    p->grad = Tensor();
  }
}

void Decoder::init_weights(uint64_t seed, double std) {
  allocate(DType::kF32);
  for (Parameter* p : parameters()) {
    if (p->shape.rank() == 1) {
      const bool gain = p->name.ends_with(".weight");  // the others are biases
      float* x = p->value.data<float>();
      for (int64_t i = 0; i < p->value.numel(); ++i) x[i] = gain ? 1.f : 0.f;
      continue;
    }
    const int64_t width = p->shape[p->shape.rank() - 1], rows = p->value.numel() / width;
    const uint64_t key = hash_name(p->name);
    const float scale = static_cast<float>(std);
    parallel_for(rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        Rng rng(seed, RngStream::kInit, key, static_cast<uint64_t>(r));
        float* x = p->value.data<float>() + r * width;
        for (int64_t i = 0; i < width; ++i) x[i] = scale * rng.next_normal();
      }
    });
  }
}

void Decoder::allocate_grads() {
  for (Parameter* p : parameters()) {
    if (!p->trainable || p->grad.defined()) continue;
    p->grad = Tensor::zeros(p->shape, DType::kF32);
    p->grad_written = false;
  }
}

void Decoder::prepack(PackedStore* store) {
  const PackOptions packing = {impl_->numerics.compute, impl_->numerics.mla, impl_->numerics.weights,
                               impl_->numerics.activations, store};
  Parameter& table = impl_->embedding->table;
  if (!table.stored.empty() && !impl_->embedding->is_stored_in_blocks()) {  // its rows are read where they are stored
    table.value = table.stored[0].values;
    table.stored.clear();
  }
  // The largest first, so that its source is gone before the others' copies are there. The head is not quantised here: its
  // file's format, else plain; and its activations are not.
  const PackOptions plain = {packing.compute, packing.mla, WeightFormat::kPlain, Activations::k16Bit, store};
  if (impl_->head) {
    impl_->head->prepack(plain);
  } else {
    impl_->packed_tied_head = pack_parts(table, 0, 1, plain);
    const Tensor& values = table.value.defined() ? table.value : table.stored[0].values;
    give_back_file_pages(values.raw(), values.bytes());  // they come again row by row
  }
  for (auto& block : impl_->blocks) block->prepack(packing);
  if (impl_->mtp) impl_->mtp->prepack(packing);
  impl_->prepacked = true;
}
void Decoder::drop_packed() {
  for (auto& block : impl_->blocks) block->drop_packed();
  if (impl_->mtp) impl_->mtp->drop_packed();
  if (impl_->head) impl_->head->drop_packed();
  impl_->packed_tied_head = PackedMatrix();
  impl_->prepacked = false;
}
bool Decoder::prepacked() const { return impl_->prepacked; }
void Decoder::drop_values_after_prepack() {
  CHECK(impl_->prepacked);
  for (auto& block : impl_->blocks) block->drop_values();
  if (impl_->mtp) impl_->mtp->drop_values();
  if (impl_->head) impl_->head->drop_values();
}

bool Decoder::has_mtp() const { return impl_->mtp != nullptr; }
int Decoder::num_cache_layers() const { return static_cast<int>(impl_->blocks.size()); }
int64_t Decoder::cache_row_width() const {
  return impl_->blocks[0]->attention().cache_layout(impl_->numerics.mla, KvType::kPlain).row_width;
}
namespace {
int64_t row_bytes(const Block& block, const Numerics& n) {
  return kv_row_bytes(block.attention().cache_layout(n.mla, n.cache), compute_dtype(n.compute));
}
}  // namespace
int64_t Decoder::cache_row_bytes() const { return row_bytes(*impl_->blocks[0], impl_->numerics); }
int64_t cache_row_bytes(const ModelConfig& config, const Numerics& numerics) {
  return row_bytes(*make_block(config, 0), numerics);
}

std::vector<Decoder::LayerLoad>& Decoder::loads() { return impl_->loads; }
void Decoder::reset_load() {
  for (LayerLoad& load : impl_->loads) load.counts.zero();
}
void Decoder::update_bias(float speed) {
  for (LayerLoad& load : impl_->loads)
    if (load.bias) update_expert_bias(load.counts, speed, *load.bias);
}

int64_t Decoder::Impl::head_bytes() const {
  return head ? head->weight_bytes() : packed_tied_head.defined() ? packed_tied_head.bytes() : embedding->table.value.bytes();
}
int64_t Decoder::mtp_weight_bytes_per_token() const {
  CHECK(impl_->mtp);
  return impl_->mtp->weight_bytes() + impl_->head_bytes();
}
int64_t Decoder::weight_bytes_per_token() const {
  int64_t bytes = impl_->head_bytes();
  for (const auto& block : impl_->blocks) bytes += block->weight_bytes();
  return bytes;
}

double Decoder::forward_flops_per_token(double mean_context) const {
  const ModelConfig& c = impl_->config;
  const double value_dim = static_cast<double>(c.is_mla() ? c.v_head_dim : c.head_dim);
  const double attention =
      2.0 * c.num_hidden_layers * c.num_attention_heads * (static_cast<double>(c.query_head_dim()) + value_dim) * mean_context;
  return 2.0 * static_cast<double>(c.count_parameters().active) + attention;
}

}  // namespace fathom
