#include "cli/info_model.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/progress.h"
#include "checkpoint/published_tensors.h"
#include "cli/info_contents.h"
#include "cli/number_text.h"

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
  const int64_t small = c.cache_values_per_token(), large = c.expanded_cache_values_per_token();
  std::vector<CacheForm> forms;
  if (c.is_mla())
    forms = {{"latents", DType::kBF16, "--mla absorbed", small * 2},
             {"latents", DType::kF32, "--mla absorbed --dtype f32", small * 4},
             {"keys and values", DType::kBF16, "--mla expanded", large * 2},
             {"keys and values", DType::kF32, "--mla expanded --dtype f32", large * 4}};
  else
    forms = {{"keys and values", DType::kBF16, "--dtype bf16", small * 2},
             {"keys and values", DType::kF32, "--dtype f32", small * 4}};
  std::stable_sort(forms.begin(), forms.end(),
                   [](const auto& a, const auto& b) { return a.bytes_per_token < b.bytes_per_token; });
  return forms;
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
  json["cache_bytes_per_token"] = forms[0].bytes_per_token;
  json["cache_type"] = "bf16";
  json["caches"] = Json::array();
  for (const CacheForm& f : forms)
    json["caches"].push_back(
        {{"holds", f.what}, {"dtype", dtype_name(f.dtype)}, {"options", f.options}, {"bytes_per_token", f.bytes_per_token}});
  const PublishedSize size = published_size(c);
  json["checkpoint"] = {{"tensors", size.tensors}, {"elements", size.elements}, {"bytes", size.bytes}};
  json["checkpoint"]["bytes_by_dtype"] = by_name(size.bytes_by_dtype);
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
                f.what, f.dtype == DType::kF32 ? "f32" : "bf16", f.options);
}

}  // namespace fathom
