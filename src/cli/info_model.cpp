#include "cli/info_model.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/published_tensors.h"
#include "cli/info_contents.h"
#include "cli/number_text.h"
#include "kernels/matmul/packed.h"

namespace fathom {
namespace {

std::map<std::string, int64_t> by_name(const std::map<DType, int64_t>& bytes) {
  std::map<std::string, int64_t> out;
  for (const auto& [dtype, n] : bytes) out[std::string(dtype_name(dtype))] = n;
  return out;
}
std::string plural(int64_t n, const char* noun) { return with_commas(n) + " " + noun + (n == 1 ? "" : "s"); }

}  // namespace

std::vector<CacheForm> cache_forms(const ModelConfig& c) {
  std::vector<CacheForm> forms;
  const auto add = [&](const char* what, MlaFormula mla, Compute compute, KvType type, const char* options) {
    Numerics numerics;
    numerics.compute = compute, numerics.mla = mla, numerics.cache = type;
    forms.push_back({what, compute_dtype(compute), type, options, c.num_hidden_layers * cache_row_bytes(c, numerics)});
  };
  constexpr MlaFormula kExpanded = MlaFormula::kExpanded, kAbsorbed = MlaFormula::kAbsorbed;
  if (c.is_mla()) {
    add("latents", kAbsorbed, Compute::kBF16, KvType::kFp8, "--mla absorbed --cache-type fp8");
    add("latents", kAbsorbed, Compute::kBF16, KvType::kPlain, "--mla absorbed");
    add("latents", kAbsorbed, Compute::kF32, KvType::kPlain, "--mla absorbed --dtype f32");
    add("keys and values", kExpanded, Compute::kBF16, KvType::kPlain, "--mla expanded");
    add("keys and values", kExpanded, Compute::kF32, KvType::kPlain, "--mla expanded --dtype f32");
  } else {
    add("keys and values", kExpanded, Compute::kBF16, KvType::kInt8, "--cache-type int8");
    add("keys and values", kExpanded, Compute::kBF16, KvType::kPlain, "--dtype bf16");
    add("keys and values", kExpanded, Compute::kF32, KvType::kPlain, "--dtype f32");
  }
  std::stable_sort(forms.begin(), forms.end(),
                   [](const auto& a, const auto& b) { return a.bytes_per_token < b.bytes_per_token; });
  return forms;
}
static std::string cache_form_type(const CacheForm& form) {
  return form.type == KvType::kPlain ? form.dtype == DType::kF32 ? "f32" : "bf16" : std::string(kv_type_name(form.type));
}
int64_t cache_bytes_per_token(const ModelConfig& c, DType dtype) { return c.cache_values_per_token() * dtype_bytes(dtype); }

void model_to_json(const ModelConfig& c, Json& json) {
  const ModelConfig::Counts counts = c.count_parameters();
  json["model_type"] = c.model_type;
  json["parameters_total"] = counts.total;
  json["parameters_active"] = counts.active;
  json["parameters_embedding"] = counts.embedding;
  json["parameters_mtp"] = counts.mtp;
  json["mtp_modules"] = c.num_nextn_predict_layers;
  json["context_length"] = c.max_position_embeddings;
  json["layers"] = c.num_hidden_layers;
  json["hidden_size"] = c.hidden_size;
  json["vocab_size"] = c.vocab_size;
  json["attention"] = c.is_mla() ? "mla" : "gqa";
  json["routed_experts"] = c.n_routed_experts;
  json["shared_experts"] = c.n_shared_experts;
  json["experts_per_token"] = c.num_experts_per_tok;
  const std::vector<CacheForm> forms = cache_forms(c);
  json["cache_bytes_per_token"] = cache_bytes_per_token(c, DType::kBF16);
  json["cache_type"] = "bf16";
  json["caches"] = Json::array();
  for (const CacheForm& f : forms)
    json["caches"].push_back(
        {{"holds", f.what}, {"type", cache_form_type(f)}, {"options", f.options}, {"bytes_per_token", f.bytes_per_token}});
  const PublishedSize size = published_size(c);
  if (const ModelConfig::Quantization& q = c.quantization; !q.quant_method.empty())
    json["quantization"] = {{"quant_method", printable(q.quant_method)},
                            {"weights", q.is_fp8_blocks() ? "fp8" : weight_format_name(q.weights)},
                            {"unsupported", printable(q.unsupported, 1000)}};
  json["checkpoint"] = {{"tensors", size.tensors}, {"elements", size.elements}, {"bytes", size.bytes}};
  Json& bytes = json["checkpoint"]["bytes_by_dtype"] = Json::object();
  for (const auto& [name, n] : by_name(size.bytes_by_dtype)) bytes[name] = n;
}

void print_model(const ModelConfig& c, bool with_checkpoint) {
  const ModelConfig::Counts counts = c.count_parameters();
  const auto n = [](int64_t value) { return with_commas(value); };
  std::printf("model        %s: %s, hidden size %s, vocabulary %s\n", c.model_type.c_str(),
              plural(c.num_hidden_layers, "layer").c_str(), n(c.hidden_size).c_str(), n(c.vocab_size).c_str());
  std::printf("parameters   %s (%s)\n", in_words(counts.total).c_str(), n(counts.total).c_str());
  std::printf("active       %s a token (%s), %s\n", in_words(counts.active).c_str(), n(counts.active).c_str(),
              c.tie_word_embeddings ? "the embedding table being the head" : "without the embedding table");
  if (c.num_nextn_predict_layers > 0)
    std::printf("MTP          %s in %s, on top of the above\n", in_words(counts.mtp).c_str(),
                plural(c.num_nextn_predict_layers, "module").c_str());
  if (c.is_mla())
    std::printf("attention    MLA: %s heads, latent %s + %s for positions\n", n(c.num_attention_heads).c_str(),
                n(c.kv_lora_rank).c_str(), n(c.qk_rope_head_dim).c_str());
  else
    std::printf("attention    GQA: %s query heads share %s key/value heads of %s\n", n(c.num_attention_heads).c_str(),
                n(c.num_key_value_heads).c_str(), n(c.head_dim).c_str());
  if (c.n_routed_experts > 0) {
    std::printf("experts      %s routed (%s a token", n(c.n_routed_experts).c_str(), n(c.num_experts_per_tok).c_str());
    if (c.n_group > 1) std::printf(", from %s of %s groups", n(c.topk_group).c_str(), n(c.n_group).c_str());
    std::printf(") and %s shared", n(c.n_shared_experts).c_str());
    if (c.first_k_dense_replace == 1) std::printf("; the first layer is dense");
    if (c.first_k_dense_replace > 1) std::printf("; the first %s layers are dense", n(c.first_k_dense_replace).c_str());
    std::printf("\n");
  }
  if (const ModelConfig::Quantization& q = c.quantization; q.is_compressed_tensors()) {
    const std::string form =
        q.unsupported.empty() ? std::string(weight_format_name(q.weights)) : printable("not read here: " + q.unsupported, 400);
    std::printf("weights      compressed-tensors: %s\n", form.c_str());
  }
  if (with_checkpoint) {
    const PublishedSize size = published_size(c);
    std::printf("checkpoint   %s, %s: %s\n", plural(size.tensors, "tensor").c_str(),
                format_bytes(static_cast<double>(size.bytes)).c_str(),
                bytes_by_dtype_text(by_name(size.bytes_by_dtype)).c_str());
  }
  std::printf("context      %s tokens\n", n(c.max_position_embeddings).c_str());
  std::printf("cache        bytes a token   whole context   holds\n");
  for (const CacheForm& f : cache_forms(c))
    std::printf("             %13s %15s   %s in %s (%s)\n", n(f.bytes_per_token).c_str(),
                format_bytes(static_cast<double>(f.bytes_per_token) * static_cast<double>(c.max_position_embeddings)).c_str(),
                f.what, cache_form_type(f).c_str(), f.options);
}

}  // namespace fathom
