#include "bench/random_model.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/matmul/random_part.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

constexpr float kStd = 0.02f;
constexpr int64_t kPool = int64_t{1} << 22;  // distinct values

// Random values for any parameter: a stretch of one pool repeated, each parameter from another place on.
class WeightPool {
 public:
  // `largest`: elements of the largest parameter.
  WeightPool(int64_t largest, DType dtype) : values_(Tensor::empty({largest + kPool}, dtype)) {
    const int64_t size = dtype_bytes(dtype);
    Tensor pool = Tensor::empty({kPool}, DType::kF32);
    parallel_for(kPool / 4096, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        Rng rng(1, RngStream::kInit, static_cast<uint64_t>(piece));
        for (int64_t i = piece * 4096; i < (piece + 1) * 4096; ++i) pool.data<float>()[i] = kStd * rng.next_normal();
      }
    });
    values_.slice_rows(0, kPool).copy_from(pool);
    parallel_for((values_.dim(0) - 1) / kPool + 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = std::max<int64_t>(begin, 1); piece < end; ++piece) {
        const int64_t count = std::min(kPool, values_.dim(0) - piece * kPool);
        std::memcpy(values_.raw() + piece * kPool * size, values_.raw(), static_cast<size_t>(count * size));
      }
    });
  }
  Tensor take(const Shape& shape) {
    next_ = (next_ + 999979) % kPool;
    const int64_t at = next_ / 32 * 32;
    Tensor flat = values_.slice_rows(at, at + shape.numel());
    return flat.view(shape);
  }

 private:
  Tensor values_;
  int64_t next_ = 0;
};

// Random parts of one format, one for each width: the rows of the largest part serve the smaller ones.
class PartPool {
 public:
  explicit PartPool(WeightFormat format) : format_(format) {}
  void want(int64_t rows, int64_t k) { rows_[k] = std::max(rows_[k], rows); }
  WeightPart take(int64_t rows, int64_t k) {
    auto it = parts_.find(k);
    if (it == parts_.end())
      it = parts_.emplace(k, random_part(fallback_format(format_, k), rows_.at(k), k, static_cast<uint64_t>(k), kStd)).first;
    WeightPart part = it->second;
    part.values = part.values.slice_rows(0, rows);
    if (part.format() == WeightFormat::kInt8Row) part.scales = part.scales.slice_rows(0, rows);
    return part;
  }

 private:
  WeightFormat format_;
  std::map<int64_t, int64_t> rows_;
  std::map<int64_t, WeightPart> parts_;
};

// Parts of the linear layers' weights, as a file in `format` would give them.
void set_random_parts(Decoder& model, WeightFormat format) {
  PartPool pool(format);
  const std::vector<NamedTensor> tensors = model.named_tensors();
  const ModelConfig& c = model.config();
  // Shapes of the parts of one tensor: itself, or kv_b_proj's keys and values head by head (Parameter::stored).
  const auto shapes_of = [&](const NamedTensor& t) {
    std::vector<Shape> shapes = {t.shape};
    if (model.numerics().mla == MlaFormula::kAbsorbed && t.name.ends_with(".kv_b_proj.weight")) {
      shapes.clear();
      for (int64_t h = 0; h < c.num_attention_heads; ++h) {
        shapes.push_back({c.kv_lora_rank, c.qk_nope_head_dim});
        shapes.push_back({c.v_head_dim, c.kv_lora_rank});
      }
    }
    return shapes;
  };
  const auto chosen = [](const NamedTensor& t) { return t.owner && !t.owner->always_f32; };
  for (const NamedTensor& t : tensors)
    if (chosen(t))
      for (const Shape& shape : shapes_of(t)) pool.want(shape[0], shape[1]);
  std::map<const Parameter*, std::vector<WeightPart>> stored;
  for (const NamedTensor& t : tensors) {
    if (!chosen(t)) continue;
    std::vector<WeightPart>& parts = stored[t.owner];
    size_t at = static_cast<size_t>(t.part);
    for (const Shape& shape : shapes_of(t)) {
      if (parts.size() <= at) parts.resize(at + 1);
      parts[at++] = pool.take(shape[0], shape[1]);
    }
  }
  for (Parameter* p : model.parameters())
    if (const auto it = stored.find(p); it != stored.end()) p->stored = std::move(it->second);
}

// One parameter's weights, in the form in which a checkpoint would leave them before packing.
void set_random_weights(Parameter& p, WeightPool& pool) {
  if (!p.stored.empty()) return;
  if (p.shape.rank() > 1 && !p.always_f32) {
    p.value = pool.take(p.shape);
    return;
  }
  p.value = Tensor::empty(p.shape, DType::kF32);
  const bool gain = p.shape.rank() == 1 && p.name.ends_with(".weight"), correction = !p.trainable;
  if (gain || correction)
    std::fill_n(p.value.data<float>(), p.value.numel(), gain ? 1.f : 0.f);
  else
    p.value.view({p.value.numel()}).copy_from(pool.take({p.value.numel()}));
}

}  // namespace

std::vector<std::string> named_shapes() { return {"qwen1.5b", "v2lite", "v3mini", "qwen-draft"}; }

ModelConfig named_shape(const std::string& name) {
  ModelConfig c;
  c.max_position_embeddings = 16384;
  if (name == "qwen1.5b") {
    c.model_type = "qwen2";
    c.vocab_size = 151936, c.hidden_size = 1536, c.intermediate_size = 8960, c.num_hidden_layers = 28;
    c.num_attention_heads = 12, c.num_key_value_heads = 2, c.head_dim = 128;
    return c;
  }
  if (name == "qwen-draft") {
    c.model_type = "qwen2";
    c.vocab_size = 151936, c.hidden_size = 512, c.intermediate_size = 2048, c.num_hidden_layers = 4;
    c.num_attention_heads = 8, c.num_key_value_heads = 2, c.head_dim = 64;
    c.tie_word_embeddings = true;
    return c;
  }
  if (name != "v2lite" && name != "v3mini")
    fail_usage("bench", "there is no shape '" + name + "'; there are qwen1.5b, v2lite, v3mini, qwen-draft");
  const bool lite = name == "v2lite";
  c.model_type = lite ? "deepseek_v2" : "deepseek_v3";
  c.vocab_size = lite ? 102400 : 32000;
  c.hidden_size = lite ? 2048 : 1024;
  c.intermediate_size = lite ? 10944 : 2816;
  c.num_hidden_layers = lite ? 27 : 16;
  c.num_attention_heads = c.num_key_value_heads = lite ? 16 : 8;
  c.q_lora_rank = lite ? 0 : 512;
  c.kv_lora_rank = 512, c.qk_nope_head_dim = c.v_head_dim = 128, c.qk_rope_head_dim = 64;
  c.n_routed_experts = 64;
  c.num_experts_per_tok = lite ? 6 : 8;
  c.n_shared_experts = lite ? 2 : 1;
  c.moe_intermediate_size = lite ? 1408 : 512;
  c.first_k_dense_replace = 1;
  c.topk_method = lite ? "greedy" : "noaux_tc";
  c.scoring_func = lite ? "softmax" : "sigmoid";
  c.norm_topk_prob = !lite;
  c.routed_scaling_factor = lite ? 1 : 2.5;
  if (!lite) c.n_group = 8, c.topk_group = 4;
  return c;
}

Decoder random_model(const ModelConfig& config, const Numerics& numerics, WeightFormat format) {
  Decoder model(config, numerics);
  {
    int64_t largest = 0;
    if (format != WeightFormat::kPlain) set_random_parts(model, format);
    for (const Parameter* p : model.parameters())
      if (p->stored.empty()) largest = std::max(largest, p->shape.numel());
    WeightPool pool(largest, compute_dtype(numerics.compute));
    for (Parameter* p : model.parameters()) set_random_weights(*p, pool);
    model.prepack();
    model.drop_values_after_prepack();
  }
  trim_storage_cache();
  return model;
}

}  // namespace fathom
