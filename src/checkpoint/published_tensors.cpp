#include "checkpoint/published_tensors.h"

#include "model/weight_groups.h"
#include "tensor/format/fp8_block.h"

namespace fathom {
namespace {

class Collector {
 public:
  explicit Collector(const ModelConfig& config) : c_(config) {}
  std::vector<PublishedTensor> take() { return std::move(out_); }

  void add(const std::string& name, std::vector<int64_t> shape) { out_.push_back({name, std::move(shape), false}); }
  void linear(const std::string& name, int64_t rows, int64_t columns) { out_.push_back({name, {rows, columns}, true}); }

  void layer(int64_t index) {
    const std::string prefix = "model.layers." + std::to_string(index);
    add(prefix + ".input_layernorm.weight", {c_.hidden_size});
    if (c_.is_mla())
      mla(prefix + ".self_attn");
    else
      gqa(prefix + ".self_attn");
    add(prefix + ".post_attention_layernorm.weight", {c_.hidden_size});
    if (c_.is_moe_layer(index))
      moe(prefix + ".mlp");
    else
      mlp(prefix + ".mlp", c_.intermediate_size);
  }

  void mtp_layer(int64_t index) {
    const std::string prefix = "model.layers." + std::to_string(index);
    add(prefix + ".enorm.weight", {c_.hidden_size});
    add(prefix + ".hnorm.weight", {c_.hidden_size});
    add(prefix + ".eh_proj.weight", {c_.hidden_size, 2 * c_.hidden_size});
    add(prefix + ".embed_tokens.weight", {c_.vocab_size, c_.hidden_size});
    layer(index);
    add(prefix + ".shared_head.norm.weight", {c_.hidden_size});
    add(prefix + ".shared_head.head.weight", {c_.vocab_size, c_.hidden_size});
  }

 private:
  void mla(const std::string& p) {
    const int64_t heads = c_.num_attention_heads, query = heads * (c_.qk_nope_head_dim + c_.qk_rope_head_dim);
    if (c_.q_lora_rank > 0) {
      linear(p + ".q_a_proj.weight", c_.q_lora_rank, c_.hidden_size);
      add(p + ".q_a_layernorm.weight", {c_.q_lora_rank});
      linear(p + ".q_b_proj.weight", query, c_.q_lora_rank);
    } else {
      linear(p + ".q_proj.weight", query, c_.hidden_size);
    }
    linear(p + ".kv_a_proj_with_mqa.weight", c_.kv_lora_rank + c_.qk_rope_head_dim, c_.hidden_size);
    add(p + ".kv_a_layernorm.weight", {c_.kv_lora_rank});
    linear(p + ".kv_b_proj.weight", heads * (c_.qk_nope_head_dim + c_.v_head_dim), c_.kv_lora_rank);
    linear(p + ".o_proj.weight", c_.hidden_size, heads * c_.v_head_dim);
  }
  void gqa(const std::string& p) {
    const int64_t q = c_.num_attention_heads * c_.head_dim, kv = c_.num_key_value_heads * c_.head_dim;
    for (const auto& [name, rows] : {std::pair{".q_proj", q}, {".k_proj", kv}, {".v_proj", kv}}) {
      linear(p + name + ".weight", rows, c_.hidden_size);
      if (c_.qkv_bias()) add(p + name + ".bias", {rows});
    }
    if (c_.qk_norm()) {
      add(p + ".q_norm.weight", {c_.head_dim});
      add(p + ".k_norm.weight", {c_.head_dim});
    }
    linear(p + ".o_proj.weight", c_.hidden_size, q);
  }
  void mlp(const std::string& p, int64_t width) {
    linear(p + ".gate_proj.weight", width, c_.hidden_size);
    linear(p + ".up_proj.weight", width, c_.hidden_size);
    linear(p + ".down_proj.weight", c_.hidden_size, width);
  }
  void moe(const std::string& p) {
    add(p + ".gate.weight", {c_.n_routed_experts, c_.hidden_size});
    if (c_.topk_method == "noaux_tc") add(p + ".gate.e_score_correction_bias", {c_.n_routed_experts});
    for (int64_t e = 0; e < c_.n_routed_experts; ++e) mlp(p + ".experts." + std::to_string(e), c_.moe_intermediate_size);
    if (c_.n_shared_experts > 0) mlp(p + ".shared_experts", c_.n_shared_experts * c_.moe_intermediate_size);
  }
  const ModelConfig& c_;
  std::vector<PublishedTensor> out_;
};

}  // namespace

std::vector<PublishedTensor> published_tensors(const ModelConfig& c) {
  Collector out(c);
  out.add("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) out.layer(l);
  out.add("model.norm.weight", {c.hidden_size});
  if (!c.tie_word_embeddings) out.add("lm_head.weight", {c.vocab_size, c.hidden_size});
  for (int64_t i = 0; i < c.num_nextn_predict_layers; ++i) out.mtp_layer(c.num_hidden_layers + i);
  return out.take();
}

PublishedSize published_size(const ModelConfig& c) {
  const DType plain = c.torch_dtype == "float32" ? DType::kF32 : c.torch_dtype == "float16" ? DType::kF16 : DType::kBF16;
  PublishedSize size;
  const auto add = [&](DType dtype, int64_t tensors, int64_t elements) {
    size.tensors += tensors;
    size.elements += elements;
    size.bytes_by_dtype[dtype] += elements * dtype_bytes(dtype);
    size.bytes += elements * dtype_bytes(dtype);
  };
  for (const WeightGroup& g : weight_groups(c)) {
    const bool linear = g.kind == WeightKind::kLinear, blocks = linear && c.quantization.is_fp8_blocks();
    const WeightFormat wanted = c.quantization.weights;
    const bool whole = !is_int4(wanted) || g.columns % block_layout(wanted).group == 0;
    const WeightFormat integers = linear && whole ? wanted : WeightFormat::kPlain;
    const int64_t elements = static_cast<int64_t>(g.elements());
    const auto blocks_of = [](int64_t n) { return (n + kFp8Block - 1) / kFp8Block; };
    if (blocks) {
      add(DType::kF8E4M3, g.tensors, elements);
      add(DType::kF32, g.tensors, g.tensors * blocks_of(g.rows) * blocks_of(g.columns));
    } else if (integers == WeightFormat::kInt8Row) {
      add(DType::kI8, g.tensors, elements);
      add(DType::kF16, g.tensors, g.tensors * g.rows);
    } else if (integers != WeightFormat::kPlain) {  // 8 codes a word, scales, shapes
      add(DType::kI32, g.tensors, elements / 8);
      add(DType::kF16, g.tensors, elements / block_layout(integers).group);
      add(DType::kI64, g.tensors, 2 * g.tensors);
    } else {
      add(g.kind == WeightKind::kRouterBias ? DType::kF32 : plain, g.tensors, elements);
    }
  }
  return size;
}

std::string published_original(const std::string& name, const ModelConfig& config) {
  const std::string embedding = "model.embed_tokens.weight", head = config.tie_word_embeddings ? embedding : "lm_head.weight";
  if (name == "lm_head.weight" && config.tie_word_embeddings) return embedding;
  for (int64_t i = 0; i < config.num_nextn_predict_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(config.num_hidden_layers + i);
    if (name == layer + ".embed_tokens.weight") return embedding;
    if (name == layer + ".shared_head.head.weight") return head;
  }
  return "";
}

}  // namespace fathom
