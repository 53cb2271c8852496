// Load balancing in training: the sequence-wise loss, the counts, the bias.
#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/moe_gate/moe_gate.h"
#include "ops/moe_gate/moe_gate_cpu.h"

namespace fathom {

// Report eq. 17-20, for each of S sequences of T tokens: L = alpha sum_i f_i P_i, f_i = E / (K T) #{t: i chosen} (a constant
// for the gradient), P_i = mean_t s'_ti with s' = s / sum s. So L is the mean over t of d_t = sum_i alpha f_i s'_ti.
float balance_loss(const MoeGateConfig& config, const Tensor& logits, const Tensor& ids,
                   std::span<const int64_t> sequence_begins, float alpha, float grad_scale, Tensor* dlogits) {
  const int64_t experts = config.num_experts, k = config.top_k, rows = logits.rows();
  CHECK(logits.rank() == 2 && ids.rank() == 2 && ids.contiguous());
  CHECK_EQ(logits.dim(1), experts);
  CHECK_EQ(ids.dim(0), rows);
  CHECK_EQ(ids.dim(1), k);
  CHECK(sequence_begins.size() >= 2);
  const int64_t sequences = static_cast<int64_t>(sequence_begins.size()) - 1;
  CHECK_EQ(sequence_begins[0], 0);
  CHECK_EQ(sequence_begins[sequences], rows);
  if (dlogits) CHECK(dlogits->shape() == logits.shape());
  const bool softmax = config.scoring == MoeGateConfig::Scoring::kSoftmax;

  std::vector<float> f(sequences * experts), dots(rows);
  std::vector<int32_t> sequence_of(rows);
  int64_t filled = 0;  // sequences that have tokens
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t begin = sequence_begins[s], end = sequence_begins[s + 1];
    CHECK(begin <= end);
    if (begin == end) continue;
    ++filled;
    std::vector<int64_t> counts(experts);
    for (int64_t t = begin; t < end; ++t) {
      sequence_of[t] = static_cast<int32_t>(s);
      for (int64_t j = 0; j < k; ++j) ++counts[ids.row<int32_t>(t)[j]];
    }
    for (int64_t e = 0; e < experts; ++e)
      f[s * experts + e] =
          static_cast<float>(static_cast<double>(alpha) * experts * counts[e] / (static_cast<double>(k) * (end - begin)));
  }
  if (filled == 0) return 0;

  const auto scores = FATHOM_PICK3(gate_scores);
  const auto sum = FATHOM_PICK3(gate_sum);
  const auto dot = FATHOM_PICK3(gate_dot);
  const auto add_gradient = FATHOM_PICK3(add_share_gradient);
  parallel_for(rows, std::max<int64_t>(1, 4096 / experts), [&](int64_t begin, int64_t end) {
    std::vector<float> s(experts);
    for (int64_t t = begin; t < end; ++t) {
      const float* a = f.data() + sequence_of[t] * experts;
      scores(logits.row<float>(t), experts, softmax, s.data());
      const float total = softmax ? 1.f : sum(s.data(), experts) + 1e-20f;
      dots[t] = dot(s.data(), a, experts) / total;
      if (!dlogits) continue;
      const int64_t length = sequence_begins[sequence_of[t] + 1] - sequence_begins[sequence_of[t]];
      const float scale = static_cast<float>(static_cast<double>(grad_scale) / (static_cast<double>(length) * filled));
      add_gradient(s.data(), a, experts, softmax, total, dots[t], scale, dlogits->row<float>(t));
    }
  });
  double loss = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t begin = sequence_begins[s], end = sequence_begins[s + 1];
    double of_sequence = 0;
    for (int64_t t = begin; t < end; ++t) of_sequence += dots[t];
    if (begin < end) loss += of_sequence / static_cast<double>(end - begin);
  }
  return static_cast<float>(loss / static_cast<double>(filled));
}

void count_expert_load(const Tensor& ids, Tensor& counts) {
  CHECK(ids.contiguous() && counts.contiguous());
  const int32_t* id = ids.data<int32_t>();
  int64_t* count = counts.data<int64_t>();
  const int64_t experts = counts.numel();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    CHECK(id[i] >= 0 && id[i] < experts);
    ++count[id[i]];
  }
}

void update_expert_bias(const Tensor& counts, float speed, Tensor& bias) {
  const int64_t experts = counts.numel();
  CHECK_EQ(bias.numel(), experts);
  const int64_t* count = counts.data<int64_t>();
  float* b = bias.data<float>();
  int64_t total = 0;
  for (int64_t e = 0; e < experts; ++e) total += count[e];
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t above = count[e] * experts - total;  // in whole numbers: a load equal to the mean stays
    if (above < 0) b[e] += speed;
    if (above > 0) b[e] -= speed;
  }
}

float max_violation(const Tensor& counts) {
  const int64_t* count = counts.data<int64_t>();
  int64_t total = 0, most = 0;
  for (int64_t e = 0; e < counts.numel(); ++e) {
    total += count[e];
    most = std::max(most, count[e]);
  }
  if (total == 0) return 0;
  return static_cast<float>(static_cast<double>(most) * static_cast<double>(counts.numel()) / static_cast<double>(total) - 1);
}

}  // namespace fathom
