#include "ops/moe_gate/moe_gate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/moe_gate/moe_gate_cpu.h"

namespace fathom {
namespace {

constexpr float kTiny = 1e-20f;  // keeps the normalisation of vanishing weights finite
constexpr float kMasked = -std::numeric_limits<float>::infinity();

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

// Marks with `taken` the indices of the k largest of x[0..n); ties go to the lower index.
void take_largest(const float* x, int n, int k, char* taken) {
  std::fill(taken, taken + n, 0);
  for (int j = 0; j < k; ++j) {
    int best = -1;
    for (int i = 0; i < n; ++i)
      if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
    taken[best] = 1;
  }
}

// A group's score: the sum of its two best (report §2.1.2: K_r / M = 2), or its best (V2 report §2.2.2).
float group_score(const float* c, int size, bool two) {
  float first = kMasked, second = kMasked;
  for (int i = 0; i < size; ++i) {
    if (c[i] > first) {
      second = first;
      first = c[i];
    } else if (c[i] > second) {
      second = c[i];
    }
  }
  return two && size > 1 ? first + second : first;
}

// Room for one row; one a piece of rows.
struct Selection {
  std::vector<float> choice, groups;
  std::vector<char> taken, kept;
  explicit Selection(const MoeGateConfig& c)
      : choice(c.num_experts), groups(c.n_group), taken(c.num_experts), kept(c.n_group) {}

  // Chosen experts of one row, ascending, to ids[top_k].
  void run(const MoeGateConfig& c, const float* scores, const float* bias, int32_t* ids) {
    const int experts = c.num_experts, size = experts / c.n_group;
    for (int e = 0; e < experts; ++e) choice[e] = bias ? scores[e] + bias[e] : scores[e];
    if (grouped(c)) {
      const bool two = c.method == MoeGateConfig::Method::kNoauxTc;
      for (int g = 0; g < c.n_group; ++g) groups[g] = group_score(choice.data() + g * size, size, two);
      take_largest(groups.data(), c.n_group, c.topk_group, kept.data());
      for (int e = 0; e < experts; ++e)
        if (!kept[e / size]) choice[e] = kMasked;
    }
    take_largest(choice.data(), experts, c.top_k, taken.data());
    int j = 0;
    for (int e = 0; e < experts; ++e)
      if (taken[e]) ids[j++] = e;
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
      selection.run(config, s.data(), b, id);
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
