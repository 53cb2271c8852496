// config.json in and out, with the spellings of old and new transformers (architecture.md §2.4).
#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "model/model_config.h"
#include "model/model_config_fields.h"
#include "model/model_config_quantization.h"

namespace fathom {
namespace {

// One object of rope fields, old (rope_scaling) or new (rope_parameters).
RopeScaling read_scaling(const Fields& g, const ModelConfig& c) {
  std::string type = "default", old_type;
  g.text("type", old_type);
  if (!old_type.empty()) type = old_type;
  g.text("rope_type", type);
  if (!old_type.empty() && type != old_type)
    g.bad("rope_type", "\"" + type + "\" contradicts type \"" + old_type + "\" beside it; keep one of them");
  RopeScaling s;
  if (type == "default") return s;
  if (type == "yarn") {
    s.kind = RopeScaling::Kind::kYarn;
  } else if (type == "llama3") {
    s.kind = RopeScaling::Kind::kLlama3;
  } else if (type == "linear") {
    s.kind = RopeScaling::Kind::kLinear;
  } else {
    g.bad("rope_type", "\"" + type + "\" is not supported; supported are default, linear, yarn, llama3");
  }
  g.number("factor", s.factor, true);
  s.original_max_position_embeddings = static_cast<double>(c.max_position_embeddings);  // transformers' default
  g.number("original_max_position_embeddings", s.original_max_position_embeddings, s.kind == RopeScaling::Kind::kLlama3);
  if (s.kind == RopeScaling::Kind::kLlama3) {
    g.number("low_freq_factor", s.low_freq_factor, true);
    g.number("high_freq_factor", s.high_freq_factor, true);
  }
  if (s.kind == RopeScaling::Kind::kYarn) {
    g.number("beta_fast", s.beta_fast);
    g.number("beta_slow", s.beta_slow);
    g.number("mscale", s.mscale);
    g.number("mscale_all_dim", s.mscale_all_dim);
    s.has_mscale = g.find("mscale") || g.find("mscale_all_dim");
    g.number("attn_factor", s.attn_factor);
    bool truncate = true;
    g.boolean("truncate", truncate);
    if (!truncate) g.bad("truncate", "false is not supported");
    if (g.find("attention_factor")) {  // transformers' key: the magnitude itself, in place of 0.1 ln(factor) + 1
      double magnitude = 1;
      g.number("attention_factor", magnitude);
      if (s.has_mscale) g.bad("attention_factor", "cannot stand beside mscale");
      s.attn_factor = magnitude / (0.1 * std::log(s.factor) + 1);
    }
  }
  return s;
}

// layer_types (transformers 5): every layer here attends to all that came before. Whether the field is there.
bool check_layer_types(const Fields& f, const ModelConfig& c) {
  const Json* types = f.array("layer_types");
  if (!types) return false;
  if (static_cast<int64_t>(types->size()) != c.num_hidden_layers)
    f.bad("layer_types",
          "names " + std::to_string(types->size()) + " layers, num_hidden_layers is " + std::to_string(c.num_hidden_layers));
  for (const Json& type : *types)
    if (type != "full_attention")
      f.bad("layer_types", Fields::shorten(type) + " is not supported; supported is \"full_attention\"");
  return true;
}

// Two spellings: rope_theta with rope_scaling beside it, and transformers 5's rope_parameters, which holds both, or holds such
// objects by the type of layer. Where several are given they must say the same.
void read_rope(const Fields& f, const std::string& source, ModelConfig& c) {
  const bool has_layer_types = check_layer_types(f, c);
  f.number("rope_theta", c.rope_theta);
  std::string theta_from = f.find("rope_theta") ? "rope_theta" : "", scaling_from;
  const auto read = [&](const Json& object, const std::string& name) {
    const Fields g(object, source, name + ".");
    double theta = c.rope_theta, rotated = 1;
    g.number("rope_theta", theta);
    if (!theta_from.empty() && theta != c.rope_theta)
      g.bad("rope_theta", "contradicts " + theta_from + "; keep the one that the model was trained with");
    if (g.find("rope_theta")) theta_from = name + ".rope_theta";
    c.rope_theta = theta;
    g.number("partial_rotary_factor", rotated);
    if (rotated != 1) g.bad("partial_rotary_factor", "is not supported; supported is 1: the whole head is rotated");
    const RopeScaling scaling = read_scaling(g, c);
    if (!scaling_from.empty() && scaling != c.rope_scaling)
      f.bad(name, "contradicts " + scaling_from + "; keep the one that the model was trained with");
    scaling_from = name;
    c.rope_scaling = scaling;
  };
  if (const Json* object = f.object("rope_scaling")) read(*object, "rope_scaling");
  const Json* object = f.object("rope_parameters");
  if (!object) return;
  size_t nested = 0;
  for (const auto& [key, value] : object->members()) nested += value.is_object();
  if (nested == 0) return read(*object, "rope_parameters");
  const Fields by_type(*object, source, "rope_parameters.");
  for (const auto& [type, value] : object->members())
    if (!value.is_object() && !value.is_null()) by_type.bad(type, "stands beside objects for types of layers; use one form");
  const Json* full = by_type.object("full_attention");
  if (!full) by_type.bad("full_attention", "is missing, and all layers are of that type");
  if (nested > 1 && !has_layer_types)
    f.bad("rope_parameters", "holds several types of layers, and layer_types does not say which layer is which");
  read(*full, "rope_parameters.full_attention");
}

void read_eos(const Fields& f, ModelConfig& c) {
  const Json* v = f.find("eos_token_id");
  if (!v) return;
  const Json one = Json::array({*v});
  const Json& list = v->is_array() ? *v : one;
  for (const Json& id : list) {
    if (!id.is_number_integer()) f.bad("eos_token_id", "must be a token id or a list of them, is " + Fields::shorten(*v));
    const int64_t value = id.get<int64_t>();
    if (value >= 0) c.eos_token_ids.push_back(f.to_token("eos_token_id", value));
  }
}

// What the program would silently compute wrongly is refused by name.
void refuse_unsupported(const Fields& f) {
  std::string act = "silu";
  f.text("hidden_act", act);
  if (act != "silu") f.bad("hidden_act", "\"" + act + "\" is not supported; supported is silu");
  bool sliding = false, mlp_bias = false, interleave = true;
  double rotated = 1;
  f.boolean("use_sliding_window", sliding);
  if (sliding) f.bad("use_sliding_window", "true is not supported: attention over a sliding window is not implemented");
  f.boolean("mlp_bias", mlp_bias);
  if (mlp_bias) f.bad("mlp_bias", "true is not supported");
  f.number("partial_rotary_factor", rotated);
  if (rotated != 1) f.bad("partial_rotary_factor", "is not supported; supported is 1: the whole head is rotated");
  f.boolean("rope_interleave", interleave);
  if (!interleave) f.bad("rope_interleave", "false is not supported");
}

std::string architecture_of(const std::string& model_type) {
  if (model_type == "deepseek_v3") return "DeepseekV3ForCausalLM";
  if (model_type == "deepseek_v2") return "DeepseekV2ForCausalLM";
  if (model_type == "qwen2") return "Qwen2ForCausalLM";
  if (model_type == "qwen3") return "Qwen3ForCausalLM";
  return "LlamaForCausalLM";
}

Json rope_to_json(const ModelConfig& c) {
  const RopeScaling& s = c.rope_scaling;
  if (s.kind == RopeScaling::Kind::kNone) return nullptr;
  Json j;
  const char* name = s.kind == RopeScaling::Kind::kYarn ? "yarn" : s.kind == RopeScaling::Kind::kLlama3 ? "llama3" : "linear";
  j[c.is_mla() ? "type" : "rope_type"] = name;
  j["factor"] = s.factor;
  if (s.kind != RopeScaling::Kind::kLinear)
    j["original_max_position_embeddings"] = static_cast<int64_t>(s.original_max_position_embeddings);
  if (s.kind == RopeScaling::Kind::kLlama3) {
    j["low_freq_factor"] = s.low_freq_factor;
    j["high_freq_factor"] = s.high_freq_factor;
  }
  if (s.kind == RopeScaling::Kind::kYarn) {
    j["beta_fast"] = s.beta_fast;
    j["beta_slow"] = s.beta_slow;
    if (s.has_mscale) {
      j["mscale"] = s.mscale;
      j["mscale_all_dim"] = s.mscale_all_dim;
    }
    if (s.attn_factor != 1) j["attn_factor"] = s.attn_factor;
  }
  return j;
}

}  // namespace

ModelConfig ModelConfig::from_json_text(const std::string& text, const std::string& source) {
  const Json json = parse_json(text, source);
  if (!json.is_object()) fail_usage("model", source + ": must be a JSON object with the fields of a model's config.json");
  const Fields f(json, source);
  ModelConfig c;
  f.text("model_type", c.model_type, true);
  const bool v3 = c.model_type == "deepseek_v3", deepseek = v3 || c.model_type == "deepseek_v2";
  f.text("torch_dtype", c.torch_dtype);
  std::string dtype = c.torch_dtype;
  f.text("dtype", dtype);  // transformers 5's name
  if (f.find("torch_dtype") && dtype != c.torch_dtype)
    f.bad("dtype", "\"" + dtype + "\" contradicts torch_dtype \"" + c.torch_dtype + "\"; keep one of them");
  c.torch_dtype = dtype;
  f.integer("vocab_size", c.vocab_size, true);
  f.integer("hidden_size", c.hidden_size, true);
  f.integer("intermediate_size", c.intermediate_size, true);
  f.integer("num_hidden_layers", c.num_hidden_layers, true);
  f.integer("num_attention_heads", c.num_attention_heads, true);
  c.num_key_value_heads = c.num_attention_heads;
  f.integer("num_key_value_heads", c.num_key_value_heads);
  f.integer("max_position_embeddings", c.max_position_embeddings);
  f.number("rms_norm_eps", c.rms_norm_eps);
  f.number("initializer_range", c.initializer_range);
  f.boolean("tie_word_embeddings", c.tie_word_embeddings);
  f.boolean("attention_bias", c.attention_bias);
  f.token("bos_token_id", c.bos_token_id);
  f.token("pad_token_id", c.pad_token_id);
  read_eos(f, c);
  read_rope(f, source, c);
  if (const Json* object = f.object("quantization_config")) c.quantization = read_quantization(*object, source);
  refuse_unsupported(f);
  if (deepseek) {
    f.integer("q_lora_rank", c.q_lora_rank);
    f.integer("kv_lora_rank", c.kv_lora_rank, true);
    f.integer("qk_nope_head_dim", c.qk_nope_head_dim, true);
    f.integer("qk_rope_head_dim", c.qk_rope_head_dim, true);
    f.integer("v_head_dim", c.v_head_dim, true);
    f.integer("n_routed_experts", c.n_routed_experts);
    f.integer("num_nextn_predict_layers", c.num_nextn_predict_layers);
    c.topk_method = v3 ? "noaux_tc" : "greedy";
    c.scoring_func = v3 ? "sigmoid" : "softmax";
    c.norm_topk_prob = v3;
    if (c.n_routed_experts != 0) {
      f.integer("num_experts_per_tok", c.num_experts_per_tok, true);
      f.integer("moe_intermediate_size", c.moe_intermediate_size, true);
      f.integer("n_shared_experts", c.n_shared_experts);
      f.integer("first_k_dense_replace", c.first_k_dense_replace);
      f.integer("moe_layer_freq", c.moe_layer_freq);
      f.integer("n_group", c.n_group);
      f.integer("topk_group", c.topk_group);
      f.text("topk_method", c.topk_method);
      f.text("scoring_func", c.scoring_func);
      f.boolean("norm_topk_prob", c.norm_topk_prob);
      f.number("routed_scaling_factor", c.routed_scaling_factor);
    }
  } else if (c.num_attention_heads > 0) {
    f.integer("head_dim", c.head_dim);
    if (!f.find("head_dim")) {
      if (c.hidden_size % c.num_attention_heads != 0)
        f.bad("hidden_size", std::to_string(c.hidden_size) + " is not divisible by num_attention_heads " +
                                 std::to_string(c.num_attention_heads) + ", and head_dim is missing");
      c.head_dim = c.hidden_size / c.num_attention_heads;
    }
  }
  c.validate(source);
  return c;
}

ModelConfig ModelConfig::from_file(const std::string& path) { return from_json_text(read_file(path, int64_t{16} << 20), path); }

std::string ModelConfig::to_json_text() const {
  Json j;
  j["architectures"] = Json::array({architecture_of(model_type)});
  j["model_type"] = model_type;
  j["torch_dtype"] = torch_dtype;
  j["vocab_size"] = vocab_size;
  j["hidden_size"] = hidden_size;
  j["intermediate_size"] = intermediate_size;
  j["num_hidden_layers"] = num_hidden_layers;
  j["num_attention_heads"] = num_attention_heads;
  j["num_key_value_heads"] = num_key_value_heads;
  if (!is_mla()) j["head_dim"] = head_dim;
  j["hidden_act"] = "silu";
  j["max_position_embeddings"] = max_position_embeddings;
  j["rms_norm_eps"] = rms_norm_eps;
  j["rope_theta"] = rope_theta;
  j["rope_scaling"] = rope_to_json(*this);
  j["initializer_range"] = initializer_range;
  j["tie_word_embeddings"] = tie_word_embeddings;
  j["attention_bias"] = attention_bias;
  j["attention_dropout"] = 0.0;
  j["use_cache"] = true;
  const auto id_or_null = [](int32_t id) { return id < 0 ? Json(nullptr) : Json(id); };
  j["bos_token_id"] = id_or_null(bos_token_id);
  j["pad_token_id"] = id_or_null(pad_token_id);
  if (eos_token_ids.empty()) {
    j["eos_token_id"] = nullptr;
  } else if (eos_token_ids.size() == 1) {
    j["eos_token_id"] = eos_token_ids[0];
  } else {
    j["eos_token_id"] = eos_token_ids;
  }
  if (model_type == "qwen2" || model_type == "qwen3") j["use_sliding_window"] = false;
  if (is_mla()) {
    j["q_lora_rank"] = q_lora_rank > 0 ? Json(q_lora_rank) : Json(nullptr);
    j["kv_lora_rank"] = kv_lora_rank;
    j["qk_nope_head_dim"] = qk_nope_head_dim;
    j["qk_rope_head_dim"] = qk_rope_head_dim;
    j["v_head_dim"] = v_head_dim;
    j["n_routed_experts"] = n_routed_experts > 0 ? Json(n_routed_experts) : Json(nullptr);
    if (n_routed_experts > 0) {
      j["n_shared_experts"] = n_shared_experts;
      j["num_experts_per_tok"] = num_experts_per_tok;
      j["moe_intermediate_size"] = moe_intermediate_size;
      j["first_k_dense_replace"] = first_k_dense_replace;
      j["moe_layer_freq"] = moe_layer_freq;
      j["n_group"] = n_group;
      j["topk_group"] = topk_group;
      j["topk_method"] = topk_method;
      j["scoring_func"] = scoring_func;
      j["norm_topk_prob"] = norm_topk_prob;
      j["routed_scaling_factor"] = routed_scaling_factor;
    }
    j["num_nextn_predict_layers"] = num_nextn_predict_layers;
  }
  return j.dump(2) + "\n";
}

}  // namespace fathom
