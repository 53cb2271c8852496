// Scored answers as rows of a forward: which row predicts which sampled token, and the objective over those rows.
#pragma once
#include <span>
#include <vector>

#include "model/decoder.h"
#include "posttrain/rollout.h"

namespace fathom {

// Answers packed one after the other: rows of prompt + answer without its last token; row prompt - 1 + t predicts token t.
struct GrpoBatch {
  Batch batch;
  std::vector<int32_t> targets;  // [T], -1 for rows that predict prompt tokens
  std::vector<const ScoredAnswer*> answers;
  std::vector<int64_t> first_rows;  // the row that predicts token 0 of answers[i]

  void add(const ScoredAnswer& answer);
  // logp of answer i's tokens out of the rows' values.
  std::span<const float> tokens_of(size_t i, std::span<const float> rows) const {
    return rows.subspan(static_cast<size_t>(first_rows[i]), answers[i]->ids.size());
  }
};

// The trainer's and the rollout's log-probability of every sampled token, bit by bit.
struct Mismatch {
  int64_t tokens = 0, different = 0;
  double max_difference = 0;
  void compare(std::span<const float> trainer, std::span<const float> rollout);
};

// The step's objective on one micro-batch. Token ratios are computed as the rows come; sequence ratios need the
// log-probabilities beforehand (`logp_rows`, from token_log_probs).
class GrpoObjective {
 public:
  // advantages[i], masked[i] (left out of the loss) of batch.answers[i]; ref_rows may be empty where beta = 0.
  GrpoObjective(const GrpoLossConfig& config, const GrpoDenominators& denominators, const GrpoBatch& batch,
                std::vector<double> advantages, std::vector<bool> masked, std::vector<float> ref_rows,
                std::span<const float> logp_rows);
  TokenObjective objective();
  const GrpoSums& sums() const { return sums_; }

 private:
  void fill(int64_t begin, std::span<const float> logp, std::span<float> coefficient);
  const GrpoLossConfig& config_;
  GrpoDenominators denominators_;
  const GrpoBatch& batch_;
  std::vector<double> advantages_;
  std::vector<bool> masked_;
  std::vector<float> ref_rows_;
  std::vector<float> precomputed_;  // sequence ratios: the coefficients of all rows
  GrpoSums sums_;
};

}  // namespace fathom
