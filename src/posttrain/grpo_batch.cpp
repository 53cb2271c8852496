#include "posttrain/grpo_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fathom {

void GrpoBatch::add(const ScoredAnswer& answer) {
  CHECK(!answer.prompt.empty() && !answer.ids.empty());
  std::vector<int32_t> ids = answer.prompt;
  ids.insert(ids.end(), answer.ids.begin(), answer.ids.end() - 1);
  batch.add(ids);
  answers.push_back(&answer);
  first_rows.push_back(static_cast<int64_t>(targets.size() + answer.prompt.size()) - 1);
  targets.insert(targets.end(), answer.prompt.size() - 1, -1);
  targets.insert(targets.end(), answer.ids.begin(), answer.ids.end());
}

void Mismatch::compare(std::span<const float> trainer, std::span<const float> rollout) {
  CHECK_EQ(trainer.size(), rollout.size());
  for (size_t t = 0; t < trainer.size(); ++t) {
    ++tokens;
    if (std::memcmp(&trainer[t], &rollout[t], sizeof(float)) == 0) continue;
    ++different;
    max_difference = std::max(max_difference, static_cast<double>(std::abs(trainer[t] - rollout[t])));
  }
}

namespace {
std::vector<double> widen(std::span<const float> x) { return {x.begin(), x.end()}; }
}  // namespace

GrpoObjective::GrpoObjective(const GrpoLossConfig& config, const GrpoDenominators& denominators, const GrpoBatch& batch,
                             std::vector<double> advantages, std::vector<bool> masked, std::vector<float> ref_rows,
                             std::span<const float> logp_rows)
    : config_(config),
      denominators_(denominators),
      batch_(batch),
      advantages_(std::move(advantages)),
      masked_(std::move(masked)),
      ref_rows_(std::move(ref_rows)) {
  CHECK(advantages_.size() == batch.answers.size() && masked_.size() == batch.answers.size());
  CHECK(config.beta == 0 || ref_rows_.size() == batch.targets.size());
  if (config.ratio != "sequence") return;
  CHECK_EQ(logp_rows.size(), batch.targets.size());
  precomputed_.assign(batch.targets.size(), 0.f);
  for (size_t i = 0; i < batch.answers.size(); ++i) {
    if (masked_[i]) continue;
    const std::vector<double> logp = widen(batch.tokens_of(i, logp_rows)), old_logp = widen(batch.answers[i]->logps);
    const std::vector<double> ref = config.beta == 0 ? std::vector<double>{} : widen(batch.tokens_of(i, ref_rows_));
    std::vector<double> grad(logp.size());
    grpo_sequence(config_, denominators_, std::span(&advantages_[i], 1), logp, old_logp, ref, {}, grad, sums_);
    for (size_t t = 0; t < grad.size(); ++t)
      precomputed_[static_cast<size_t>(batch.first_rows[i]) + t] = static_cast<float>(grad[t]);
  }
}

void GrpoObjective::fill(int64_t begin, std::span<const float> logp, std::span<float> coefficient) {
  if (!precomputed_.empty()) {
    std::copy_n(precomputed_.begin() + begin, coefficient.size(), coefficient.begin());
    return;
  }
  std::fill(coefficient.begin(), coefficient.end(), 0.f);
  const int64_t end = begin + static_cast<int64_t>(logp.size());
  for (size_t i = 0; i < batch_.answers.size(); ++i) {
    const ScoredAnswer& answer = *batch_.answers[i];
    const int64_t first = batch_.first_rows[i], last = first + static_cast<int64_t>(answer.ids.size());
    const int64_t from = std::max(first, begin), to = std::min(last, end);
    if (from >= to || masked_[i]) continue;
    const size_t n = static_cast<size_t>(to - from), token = static_cast<size_t>(from - first),
                 row = static_cast<size_t>(from - begin);
    const std::vector<double> part = widen(logp.subspan(row, n)), old_logp = widen(std::span(answer.logps).subspan(token, n));
    const std::vector<double> ref =
        config_.beta == 0 ? std::vector<double>{} : widen(std::span(ref_rows_).subspan(static_cast<size_t>(from), n));
    std::vector<double> grad(n);
    grpo_sequence(config_, denominators_, std::span(&advantages_[i], 1), part, old_logp, ref, {}, grad, sums_,
                  static_cast<int64_t>(answer.ids.size()));
    for (size_t t = 0; t < n; ++t) coefficient[row + t] = static_cast<float>(grad[t]);
  }
}

TokenObjective GrpoObjective::objective() {
  return [this](int64_t begin, std::span<const float> logp, std::span<float> coefficient) { fill(begin, logp, coefficient); };
}

}  // namespace fathom
