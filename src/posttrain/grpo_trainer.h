// Stage grpo: rollouts by the engine from the same weights and the same forward, exact rewards, group advantages, the clipped
// objective. Each step shows whether the trainer's log-probabilities equal the rollout's bit for bit.
#pragma once
#include <optional>
#include <string>

#include "posttrain/rollout.h"
#include "train/run_folder.h"

namespace fathom {

struct GrpoOptions {
  RunFolder::Resume resume = RunFolder::Resume::kNever;
  bool allow_rung_change = false;
};
struct GrpoResult {
  int64_t steps = 0, resumed_from = 0;
  bool stopped = false, reused = false;  // reused: the run was finished before
  double seconds = 0;
  std::string model_directory;
  std::optional<PassRate> before, after;  // where the recipe has an evaluation
};
GrpoResult train_grpo(const Recipe& recipe, const GrpoOptions& options);
std::string to_json(const GrpoResult& result);

}  // namespace fathom
