#include "ops/moe_gate/moe_gate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/moe_gate/moe_gate_cpu.h"

namespace fathom {
namespace {

constexpr float kTiny = 1e-20f;  // keeps the normalisation of vanishing weights finite

bool grouped(const MoeGateConfig& c) { return c.method != MoeGateConfig::Method::kGreedy && c.n_group > 1; }
bool is_softmax(const MoeGateConfig& c) { return c.scoring == MoeGateConfig::Scoring::kSoftmax; }
int64_t grain(int64_t experts) { return std::max<int64_t>(1, 4096 / experts); }

void check(const MoeGateConfig& c, const Tensor& logits, const Tensor& ids) {
  CHECK(c.num_experts >= 1 && c.top_k >= 1 && c.n_group >= 1 && c.num_experts % c.n_group == 0);
  if (grouped(c)) CHECK(1 <= c.topk_group && c.topk_group <= c.n_group);
  const int left = grouped(c) ? c.num_experts / c.n_group * c.topk_group : c.num_experts;
  CHECK(c.top_k <= left);  // ModelConfig refuses such a model: masked experts would be chosen
  CHECK(logits.rank() == 2 && ids.rank() == 2 && ids.contiguous());
  CHECK_EQ(logits.dim(1), c.num_experts);
  CHECK_EQ(ids.dim(0), logits.dim(0));
  CHECK_EQ(ids.dim(1), c.top_k);
}

// Room for one row; one a piece of rows.
struct Selection {
  const MoeGateConfig& config;
  std::vector<float> choice, groups, room;
  std::vector<int32_t> kept;
  decltype(&portable::take_largest) largest = FATHOM_PICK3(take_largest);
  decltype(&portable::group_scores) score_groups = FATHOM_PICK3(group_scores);
  decltype(&portable::mask_groups) mask = FATHOM_PICK3(mask_groups);
  decltype(&portable::add_bias) biased = FATHOM_PICK3(add_bias);
  explicit Selection(const MoeGateConfig& c)
      : config(c), choice(c.num_experts), groups(c.n_group), room((c.num_experts + 15) / 16 * 16), kept(c.topk_group) {}

  // Chosen experts of one row, ascending, to ids[top_k].
  void run(const float* scores, const float* bias, int32_t* ids) {
    const int experts = config.num_experts, size = experts / config.n_group;
    biased(scores, bias, experts, choice.data());
    if (grouped(config)) {
      // A group's score: the sum of its two best (report §2.1.2: K_r / M = 2), or its best (V2 report §2.2.2).
      score_groups(choice.data(), config.n_group, size, config.method == MoeGateConfig::Method::kNoauxTc, groups.data());
      largest(groups.data(), config.n_group, config.topk_group, room.data(), kept.data());
      mask(kept.data(), config.topk_group, config.n_group, size, choice.data());
    }
    largest(choice.data(), experts, config.top_k, room.data(), ids);
  }
};

}  // namespace

void moe_gate_forward(const MoeGateConfig& config, const Tensor& logits, const Tensor* bias, Tensor& ids, Tensor& weights) {
  check(config, logits, ids);
  CHECK(weights.shape() == ids.shape() && weights.contiguous());
  if (bias) CHECK_EQ(bias->numel(), config.num_experts);
  const float* b = bias ? bias->data<float>() : nullptr;
  const int k = config.top_k;
  const auto scores = FATHOM_PICK3(gate_scores);
  parallel_for(logits.rows(), grain(config.num_experts), [&](int64_t begin, int64_t end) {
    Selection selection(config);
    std::vector<float> s(config.num_experts);
    for (int64_t t = begin; t < end; ++t) {
      scores(logits.row<float>(t), config.num_experts, is_softmax(config), s.data());
      int32_t* id = ids.row<int32_t>(t);
      float* w = weights.row<float>(t);
      selection.run(s.data(), b, id);
      float sum = 0;
      for (int j = 0; j < k; ++j) sum += w[j] = s[id[j]];
      const float divisor = config.norm_topk_prob ? sum + kTiny : 1.f;
      for (int j = 0; j < k; ++j) w[j] = w[j] / divisor * config.routed_scaling_factor;
    }
  });
}

// With D = sum of the chosen scores (or 1): w_j = c s_j / D, so ds_j = (c dw_j - sum_i dw_i w_i [normalised]) / D; then
// through sigmoid, ds s (1 - s), or softmax over all experts, s (ds - sum ds s).
void moe_gate_backward(const MoeGateConfig& config, const Tensor& logits, const Tensor& ids, const Tensor& weights,
                       const Tensor& dweights, Tensor& dlogits) {
  check(config, logits, ids);
  CHECK(weights.shape() == ids.shape() && dweights.shape() == ids.shape() && dlogits.shape() == logits.shape());
  const int k = config.top_k, experts = config.num_experts;
  const auto scores = FATHOM_PICK3(gate_scores);
  const auto through_softmax = FATHOM_PICK3(softmax_gradient);
  parallel_for(logits.rows(), grain(experts), [&](int64_t begin, int64_t end) {
    std::vector<float> s(experts), ds(experts);
    for (int64_t t = begin; t < end; ++t) {
      scores(logits.row<float>(t), experts, is_softmax(config), s.data());
      const int32_t* id = ids.row<int32_t>(t);
      const float *w = weights.row<float>(t), *dw = dweights.row<float>(t);
      float sum = 0, dot = 0;
      for (int j = 0; j < k; ++j) {
        sum += s[id[j]];
        dot += dw[j] * w[j];
      }
      const float divisor = config.norm_topk_prob ? sum + kTiny : 1.f;
      if (!config.norm_topk_prob) dot = 0;
      std::fill(ds.begin(), ds.end(), 0.f);
      float score_dot = 0;
      for (int j = 0; j < k; ++j) {
        const float d = (config.routed_scaling_factor * dw[j] - dot) / divisor, v = s[id[j]];
        ds[id[j]] = is_softmax(config) ? d : d * (v * (1.f - v));
        score_dot += d * v;
      }
      float* out = dlogits.row<float>(t);
      if (is_softmax(config))
        through_softmax(s.data(), ds.data(), experts, score_dot, out);
      else
        std::copy(ds.begin(), ds.end(), out);
    }
  });
}

}  // namespace fathom
