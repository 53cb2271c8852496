// Rotary position embedding. A pair (x, y) at position p becomes (x cos a - y sin a, x sin a + y cos a), a = p inv_freq_j.
// interleaved: pair j is (x_2j, x_2j+1) (DeepSeek); half-split: (x_j, x_j+dim/2) (Qwen, Llama).
// Angles are computed in f64 from the position and rounded once, so a row depends on its position only.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

struct RopeScaling {
  enum class Kind { kNone, kYarn, kLlama3, kLinear } kind = Kind::kNone;
  double factor = 1, original_max_position_embeddings = 0;
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 0, mscale_all_dim = 0;             // yarn; 0 = key absent
  bool has_mscale = false;                           // either key present
  double attn_factor = 1;                            // yarn: multiplies the magnitude (R1-0528-Qwen3-8B; vLLM's reading)
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  bool operator==(const RopeScaling&) const = default;
};

// inv_freq [dim/2] and the factor on cos and sin (architecture.md §1.3: YaRN; §2.3: llama3).
struct RopeTable {
  std::vector<double> inv_freq;
  double magnitude = 1;
};
RopeTable make_rope_table(int dim, double theta, const RopeScaling& scaling);
// What YaRN multiplies the softmax scale by: get_mscale(factor, mscale_all_dim)^2, 1 elsewhere.
double rope_softmax_factor(const RopeScaling& scaling);

// cos and sin of the rows' positions, [T, dim/2] each, F32: computed once a batch, used by every layer.
struct RopeAngles {
  Tensor cos, sin;
};
RopeAngles make_rope_angles(const RopeTable& table, std::span<const int32_t> positions);

// In place on x: [T, H * stride] viewed by rows: head h's rotated part is columns [h*head_stride + offset, + dim).
// x F32 or BF16 (read, rotated in f32, rounded once). inverse = true rotates back: the gradient.
void rope_apply(Tensor& x, int num_heads, int64_t head_stride, int64_t offset, const RopeAngles& angles, bool interleaved,
                bool inverse);

}  // namespace fathom
