#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr double kLogMultiplier = 0.1;  // yarn_log_multiplier holds 0.1 * mscale_all_dim for deepseek2
constexpr int64_t kMaxSize = int64_t{1} << 40;
constexpr int64_t kSoftmaxGate = 1, kSigmoidGate = 2;

class Keys {
 public:
  Keys(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}
  int64_t need(const std::string& key) const {
    if (!has(key)) file_.refuse(prefix_ + key, "is missing");
    return integer(key, 0);
  }
  int64_t integer(const std::string& key, int64_t fallback) const {
    const int64_t value = file_.integer(prefix_ + key).value_or(fallback);
    if (value < 0 || value > kMaxSize) file_.refuse(prefix_ + key, std::to_string(value) + " is out of range");
    return value;
  }
  double number(const std::string& key, double fallback) const { return file_.number(prefix_ + key).value_or(fallback); }
  double need_number(const std::string& key) const {
    const auto value = file_.number(prefix_ + key);
    if (!value) file_.refuse(prefix_ + key, "is missing");
    return *value;
  }
  // A number, or an array of one number for every layer: all must agree.
  int64_t need_same(const std::string& key) const {
    const GgufValue* value = file_.value(prefix_ + key);
    if (!value || value->kind != GgufKind::kArray) return need(key);
    const auto list = *file_.integers(prefix_ + key);
    if (!list.empty() && (list[0] < 0 || list[0] > kMaxSize)) file_.refuse(prefix_ + key, "is out of range");
    for (const int64_t n : list)
      if (n != list[0]) file_.refuse(prefix_ + key, "differs from layer to layer, which is not supported");
    if (list.empty()) file_.refuse(prefix_ + key, "is empty");
    return list[0];
  }
  bool has(const std::string& key) const { return file_.value(prefix_ + key) != nullptr; }
  bool boolean(const std::string& key, bool fallback) const { return file_.boolean(prefix_ + key).value_or(fallback); }
  std::string text(const std::string& key) const { return file_.text(prefix_ + key).value_or(""); }
  [[noreturn]] void refuse(const std::string& key, const std::string& what) const { file_.refuse(prefix_ + key, what); }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// Divisors of a llama3 scaling, as float32.
std::vector<float> divisors_of(int64_t dim, double theta, const RopeScaling& s) {
  RopeScaling none;
  const RopeTable plain = make_rope_table(static_cast<int>(dim), theta, none),
                  scaled = make_rope_table(static_cast<int>(dim), theta, s);
  std::vector<float> out;
  for (size_t i = 0; i < plain.inv_freq.size(); ++i) out.push_back(static_cast<float>(plain.inv_freq[i] / scaled.inv_freq[i]));
  return out;
}

bool close(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= 2e-6f * std::fabs(b[i]))) return false;
  return true;
}

// The parameters that give these divisors. Only orig / (high - low) and low / (high - low) can be seen, so low is set to 1:
// published models have low 1, high 4 and a power of two; else both are solved from the smooth band.
RopeScaling scaling_from_divisors(const GgufFile& file, const ModelConfig& c, const std::vector<float>& divisors) {
  RopeScaling s;
  float top = 1;
  for (const float d : divisors) {
    if (!(d >= 1 && d < 1e6f)) file.refuse("rope_freqs.weight", "holds a divisor outside of 1 to 1e6");
    top = std::max(top, d);
  }
  if (top == 1) return s;
  s.kind = RopeScaling::Kind::kLlama3;
  s.factor = static_cast<double>(top);
  s.low_freq_factor = 1, s.high_freq_factor = 4;
  for (double orig :
       {8192.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 32768.0, 65536.0, 131072.0}) {
    s.original_max_position_embeddings = orig;
    if (close(divisors_of(c.head_dim, c.rope_theta, s), divisors)) return s;
  }
  // 1 / divisor = (1 - t) / factor + t, t = (orig / wavelength - low) / (high - low): a line over 1 / wavelength.
  const RopeTable plain = make_rope_table(static_cast<int>(c.head_dim), c.rope_theta, RopeScaling());
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (divisors[i] == 1 || divisors[i] == top) continue;
    const double x = plain.inv_freq[i], y = (1 / static_cast<double>(divisors[i]) - 1 / s.factor) / (1 - 1 / s.factor);
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  const double det = n * sxx - sx * sx;
  if (n >= 2 && det > 0) {
    const double slope = (n * sxy - sx * sy) / det, at_zero = (sy - slope * sx) / n;  // at_zero = -low / (high - low)
    if (slope > 0 && at_zero < 0) {
      s.high_freq_factor = 1 - 1 / at_zero;
      s.original_max_position_embeddings = std::round(slope * 2 * M_PI * (s.high_freq_factor - 1) * 1e6) / 1e6;
      if (close(divisors_of(c.head_dim, c.rope_theta, s), divisors)) return s;
    }
  }
  file.refuse("rope_freqs.weight", "holds divisors that no llama3 rope scaling gives; such a model is not supported");
}

void read_rope(const GgufFile& file, const Keys& k, ModelConfig& c) {
  c.rope_theta = k.number("rope.freq_base", 10000);
  RopeScaling& s = c.rope_scaling;
  const std::string type = k.text("rope.scaling.type");
  if (const auto* freqs = file.find("rope_freqs.weight")) {
    if (c.is_mla() || freqs->type != GgmlType::kF32 || freqs->elements() != c.head_dim / 2)
      file.refuse("tensor 'rope_freqs.weight'", "is not F32 of half a head");
    std::vector<float> divisors(static_cast<size_t>(c.head_dim / 2));
    std::copy_n(file.data(*freqs), divisors.size() * 4, reinterpret_cast<std::byte*>(divisors.data()));
    s = scaling_from_divisors(file, c, divisors);
    if (s.kind != RopeScaling::Kind::kNone && !type.empty() && type != "none")
      k.refuse("rope.scaling.type", "'" + printable(type) + "' beside rope_freqs.weight is not supported");
    if (s.kind != RopeScaling::Kind::kNone) return;
  }
  if (type == "yarn") {
    s.kind = RopeScaling::Kind::kYarn;
    s.original_max_position_embeddings =
        k.number("rope.scaling.original_context_length", static_cast<double>(c.max_position_embeddings));
    s.beta_fast = k.number("rope.scaling.yarn_beta_fast", 32);
    s.beta_slow = k.number("rope.scaling.yarn_beta_slow", 1);
    s.attn_factor = k.number("rope.scaling.attn_factor", 1);
    if (c.is_mla() && k.has("rope.scaling.yarn_log_multiplier")) {
      s.has_mscale = true;
      s.mscale_all_dim = std::round(k.number("rope.scaling.yarn_log_multiplier", 0) / kLogMultiplier * 1e6) / 1e6;
      s.mscale = s.mscale_all_dim;
    } else if (!c.is_mla() && k.has("rope.scaling.yarn_log_multiplier")) {
      k.refuse("rope.scaling.yarn_log_multiplier", "is not supported for this architecture");
    }
  } else if (type == "linear") {
    s.kind = RopeScaling::Kind::kLinear;
  } else if (!type.empty() && type != "none") {
    k.refuse("rope.scaling.type", "'" + printable(type) + "' is not supported; none, linear and yarn are");
  }
  if (s.kind != RopeScaling::Kind::kNone) s.factor = k.number("rope.scaling.factor", k.number("rope.scale_linear", 1));
}

void read_mla(const GgufFile& file, const Keys& k, ModelConfig& c) {
  c.q_lora_rank = k.integer("attention.q_lora_rank", 0);
  c.kv_lora_rank = k.need("attention.kv_lora_rank");
  c.qk_rope_head_dim = k.need("rope.dimension_count");
  // Older files say the head sizes without the ending; newer ones use those keys for the absorbed form.
  const bool newer = k.has("attention.key_length_mla");
  c.qk_nope_head_dim = k.need(newer ? "attention.key_length_mla" : "attention.key_length") - c.qk_rope_head_dim;
  c.v_head_dim = k.need(newer ? "attention.value_length_mla" : "attention.value_length");
  c.num_key_value_heads = c.num_attention_heads;  // the file says 1: the absorbed form
  c.n_routed_experts = k.integer("expert_count", 0);
  int64_t gate = k.integer("expert_gating_func", kSoftmaxGate);
  if (gate == 0) gate = kSoftmaxGate;
  if (gate != kSoftmaxGate && gate != kSigmoidGate)
    k.refuse("expert_gating_func", std::to_string(gate) + " is not supported; 1 (softmax) and 2 (sigmoid) are");
  const bool sigmoid = gate == kSigmoidGate;
  c.first_k_dense_replace = k.integer("leading_dense_block_count", 0);
  const bool bias = file.find("blk." + std::to_string(c.first_k_dense_replace) + ".exp_probs_b.bias") != nullptr;
  c.model_type = sigmoid || bias ? "deepseek_v3" : "deepseek_v2";
  c.scoring_func = sigmoid ? "sigmoid" : "softmax";
  if (c.n_routed_experts == 0) return;
  c.num_experts_per_tok = k.need("expert_used_count");
  c.n_shared_experts = k.integer("expert_shared_count", 0);
  c.moe_intermediate_size = k.need_same("expert_feed_forward_length");
  c.n_group = std::max<int64_t>(1, k.integer("expert_group_count", 1));
  c.topk_group = std::max<int64_t>(1, k.integer("expert_group_used_count", 1));
  c.topk_method = bias ? "noaux_tc" : c.n_group > 1 ? "group_limited_greedy" : "greedy";
  c.norm_topk_prob = k.boolean("expert_weights_norm", false);
  c.routed_scaling_factor = k.number("expert_weights_scale", 1);
  if (c.routed_scaling_factor == 0) c.routed_scaling_factor = 1;
}

// The type that holds the matrices' values; quantised ones are computed on in bfloat16 unless asked otherwise.
std::string torch_dtype_of(const GgufFile& file) {
  bool f32 = true, f16 = false;
  for (const auto& entry : file.entries()) {
    if (entry.shape.size() < 2) continue;
    const bool router = entry.name.find("ffn_gate_inp") != std::string::npos;
    if (entry.type != GgmlType::kF32) f32 = false;
    if (!router && entry.type == GgmlType::kF16) f16 = true;
    if (!router && entry.type != GgmlType::kF16 && entry.type != GgmlType::kF32) return "bfloat16";
  }
  return f32 ? "float32" : f16 ? "float16" : "bfloat16";
}

std::string architecture_of(const ModelConfig& c) { return c.is_mla() ? "deepseek2" : c.model_type; }

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) {
  const auto architecture = file.text("general.architecture");
  if (!architecture) file.refuse("general.architecture", "is missing");
  const std::string& a = *architecture;
  if (a != "llama" && a != "qwen2" && a != "qwen3" && a != "deepseek2")
    file.refuse("general.architecture", "'" + printable(a) + "' is not supported; llama, qwen2, qwen3 and deepseek2 are");
  const Keys k(file, a);
  ModelConfig c;
  c.model_type = a;
  c.torch_dtype = torch_dtype_of(file);
  c.hidden_size = k.need("embedding_length");
  c.num_hidden_layers = k.need("block_count");
  c.num_nextn_predict_layers = k.integer("nextn_predict_layers", 0);
  if (c.num_nextn_predict_layers < 0 || c.num_nextn_predict_layers > 1)
    k.refuse("nextn_predict_layers", std::to_string(c.num_nextn_predict_layers) + " is not supported; 0 and 1 are");
  c.num_hidden_layers -= c.num_nextn_predict_layers;
  if (c.num_nextn_predict_layers > 0 && !file.find("blk." + std::to_string(c.num_hidden_layers) + ".nextn.eh_proj.weight"))
    c.num_nextn_predict_layers = 0;  // the key is kept by programs that drop the layer
  c.intermediate_size = k.need_same("feed_forward_length");
  c.max_position_embeddings = k.need("context_length");
  c.num_attention_heads = k.need_same("attention.head_count");
  c.rms_norm_eps = k.need_number("attention.layer_norm_rms_epsilon");
  c.tie_word_embeddings = file.find("output.weight") == nullptr;
  if (const auto* table = file.find("token_embd.weight"))
    c.vocab_size = table->shape[0];
  else
    file.refuse("tensor 'token_embd.weight'", "is missing");
  if (a == "deepseek2") {
    read_mla(file, k, c);
  } else {
    c.num_key_value_heads = k.has("attention.head_count_kv") ? k.need_same("attention.head_count_kv") : c.num_attention_heads;
    if (c.num_attention_heads < 1) k.refuse("attention.head_count", "must be at least 1");
    c.head_dim = k.integer("attention.key_length", c.hidden_size / c.num_attention_heads);
    if (k.integer("attention.value_length", c.head_dim) != c.head_dim)
      k.refuse("attention.value_length", "differs from attention.key_length, which is not supported");
    if (k.integer("rope.dimension_count", c.head_dim) != c.head_dim)
      k.refuse("rope.dimension_count", "differs from the size of a head, which is not supported");
    if (k.integer("expert_count", 0) != 0) k.refuse("expert_count", "experts are supported in deepseek2 only");
  }
  if (c.head_dim < 0 || c.head_dim > 4096) k.refuse("attention.key_length", std::to_string(c.head_dim) + " is out of range");
  read_rope(file, k, c);
  const auto token = [&](const char* key) {
    const int64_t id = file.integer(key).value_or(-1);
    if (id < -1 || id >= c.vocab_size) file.refuse(key, std::to_string(id) + " is no id of the vocabulary");
    return static_cast<int32_t>(id);
  };
  c.bos_token_id = token("tokenizer.ggml.bos_token_id");
  c.pad_token_id = token("tokenizer.ggml.padding_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const int32_t id = token(key); id >= 0 && std::count(c.eos_token_ids.begin(), c.eos_token_ids.end(), id) == 0)
      c.eos_token_ids.push_back(id);
  c.validate(file.path());
  return c;
}

GgufMetadata gguf_config_metadata(const ModelConfig& c) {
  const std::string a = architecture_of(c), p = a + ".";
  const RopeScaling& s = c.rope_scaling;
  GgufMetadata m;
  m.string("general.architecture", a);
  m.u32(p + "block_count", c.num_hidden_layers + c.num_nextn_predict_layers);
  if (c.num_nextn_predict_layers > 0) m.u32(p + "nextn_predict_layers", c.num_nextn_predict_layers);
  m.u32(p + "context_length", c.max_position_embeddings);
  m.u32(p + "embedding_length", c.hidden_size);
  m.u32(p + "feed_forward_length", c.intermediate_size);
  m.u32(p + "vocab_size", c.vocab_size);
  m.u32(p + "attention.head_count", c.num_attention_heads);
  m.u32(p + "attention.head_count_kv", c.is_mla() ? 1 : c.num_key_value_heads);
  m.f32(p + "attention.layer_norm_rms_epsilon", c.rms_norm_eps);
  m.f32(p + "rope.freq_base", c.rope_theta);
  m.u32(p + "rope.dimension_count", c.is_mla() ? c.qk_rope_head_dim : c.head_dim);
  if (s.kind == RopeScaling::Kind::kYarn || s.kind == RopeScaling::Kind::kLinear) {
    const bool yarn = s.kind == RopeScaling::Kind::kYarn;
    m.string(p + "rope.scaling.type", yarn ? "yarn" : "linear");
    m.f32(p + "rope.scaling.factor", s.factor);
    if (yarn) {
      m.u32(p + "rope.scaling.original_context_length", static_cast<int64_t>(s.original_max_position_embeddings));
      m.f32(p + "rope.scaling.yarn_beta_fast", s.beta_fast);
      m.f32(p + "rope.scaling.yarn_beta_slow", s.beta_slow);
      if (s.attn_factor != 1) m.f32(p + "rope.scaling.attn_factor", s.attn_factor);
      if (c.is_mla() && s.has_mscale) m.f32(p + "rope.scaling.yarn_log_multiplier", kLogMultiplier * s.mscale_all_dim);
    }
  }
  if (!c.is_mla()) {
    m.u32(p + "attention.key_length", c.head_dim);
    m.u32(p + "attention.value_length", c.head_dim);
    return m;
  }
  m.u32(p + "attention.kv_lora_rank", c.kv_lora_rank);
  if (c.q_lora_rank > 0) m.u32(p + "attention.q_lora_rank", c.q_lora_rank);
  m.u32(p + "attention.key_length", c.kv_lora_rank + c.qk_rope_head_dim);
  m.u32(p + "attention.value_length", c.kv_lora_rank);
  m.u32(p + "attention.key_length_mla", c.qk_nope_head_dim + c.qk_rope_head_dim);
  m.u32(p + "attention.value_length_mla", c.v_head_dim);
  const bool moe = c.n_routed_experts > 0;
  m.u32(p + "leading_dense_block_count", moe ? c.first_k_dense_replace : c.num_hidden_layers);
  m.u32(p + "expert_feed_forward_length", moe ? c.moe_intermediate_size : c.intermediate_size);
  m.u32(p + "expert_shared_count", moe ? c.n_shared_experts : 0);
  if (!moe) return m;
  m.u32(p + "expert_count", c.n_routed_experts);
  m.u32(p + "expert_used_count", c.num_experts_per_tok);
  m.u32(p + "expert_group_count", c.topk_method == "greedy" ? 1 : c.n_group);
  m.u32(p + "expert_group_used_count", c.topk_method == "greedy" ? 1 : c.topk_group);
  m.u32(p + "expert_gating_func", c.scoring_func == "sigmoid" ? kSigmoidGate : kSoftmaxGate);
  m.f32(p + "expert_weights_scale", c.routed_scaling_factor);
  m.boolean(p + "expert_weights_norm", c.norm_topk_prob);
  return m;
}

std::vector<float> llama3_divisors(const ModelConfig& c) {
  if (c.rope_scaling.kind != RopeScaling::Kind::kLlama3) return {};
  return divisors_of(c.head_dim, c.rope_theta, c.rope_scaling);
}

std::vector<std::string> lost_in_gguf(const ModelConfig& c) {
  std::vector<std::string> lost;
  const RopeScaling& s = c.rope_scaling;
  const auto number = [](double x) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", x);
    return std::string(text);
  };
  if (c.is_mla() && s.kind == RopeScaling::Kind::kYarn && (!s.has_mscale || s.mscale != s.mscale_all_dim))
    lost.push_back("rope_scaling.mscale " + number(s.mscale) + " differs from mscale_all_dim " + number(s.mscale_all_dim) +
                   ": GGUF has a key for the second alone, so other programs scale cos and sin differently");
  if (!c.is_mla() && s.kind == RopeScaling::Kind::kYarn && s.has_mscale)
    lost.push_back("rope_scaling.mscale and mscale_all_dim: GGUF has no key for them in this architecture");
  if (c.is_mla() && c.rms_norm_eps != 1e-6)
    lost.push_back(
        "rms_norm_eps " + number(c.rms_norm_eps) +
        ": GGUF has one epsilon, so other programs use it in q_a_layernorm and kv_a_layernorm too, where 1e-6 is due");
  if (c.topk_method == "group_limited_greedy" && c.n_group > 1)
    lost.push_back(
        "topk_method group_limited_greedy: GGUF does not say how a group is scored; llama.cpp sums the best two "
        "experts where this model takes the best one");
  if (c.n_routed_experts > 0 && c.moe_layer_freq != 1)
    lost.push_back("moe_layer_freq " + std::to_string(c.moe_layer_freq) + ": GGUF has no key for it");
  return lost;
}

}  // namespace fathom
