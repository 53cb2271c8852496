// How a published (Hugging Face) tensor stands in a GGUF file: name, slice, order of rows.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/published_tensors.h"
#include "tensor/format/ggml_type.h"

namespace fathom {

struct GgufPlace {
  std::string tensor;
  int64_t expert = -1;  // >= 0: this slice of a tensor of all experts
  // Llama: rows of each head in the order of neighbouring pairs; 0 heads: as published.
  int64_t permuted_heads = 0;
  // kv_b_proj: `tensor` is the legacy name; newer files hold key_tensor [heads, latent, nope] (transposed) and
  // value_tensor [heads, v, latent] instead.
  std::string key_tensor, value_tensor;
  bool is_kv_b() const { return !key_tensor.empty(); }
};
// CHECKs that the name is one of published_tensors(config).
GgufPlace gguf_place(const ModelConfig& config, const std::string& published);

// Row r of a published [heads * dim, n] tensor with half-split rotation is row permuted_row(r) of llama's GGUF.
inline int64_t permuted_row(int64_t r, int64_t dim) {
  const int64_t head = r / dim, i = r % dim, half = dim / 2;
  return head * dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

// The tensors that a GGUF file of this model holds, in the order of the published ones that make them up.
struct GgufTensorPlan {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;          // outermost first
  std::vector<std::string> published;  // one; all experts of one projection; or kv_b_proj
  enum class Part { kWhole, kExperts, kKeys, kValues } part = Part::kWhole;
  int64_t permuted_heads = 0;
};
std::vector<GgufTensorPlan> gguf_tensors(const ModelConfig& config);

}  // namespace fathom
