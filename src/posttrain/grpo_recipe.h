// The recipe of stage grpo: what every stage has (train/recipe.h), and the task, the rollouts, the rewards, the objective.
#pragma once
#include <string>
#include <vector>

#include "posttrain/grpo.h"
#include "train/recipe.h"

namespace fathom {

struct TaskSection {
  std::string name;
  std::vector<std::string> options;  // "digits=2"
  void fields(ConfigFields& f);
  std::vector<std::pair<std::string, std::string>> option_pairs() const;
};

struct RolloutSection {
  int64_t steps = 100, prompts_per_step = 16, group_size = 8, max_tokens = 256, samples_logged = 4;
  double temperature = 1, cache_mib = 256;
  std::string truncated = "zero", on_mismatch = "error";
  void fields(ConfigFields& f);
};

struct RewardSection {
  double correct = 1, format = 0.1;
  int64_t soft_overlong = 0;
  void fields(ConfigFields& f);
};

struct EvaluationSection {
  int64_t problems = 0, every = 0;
  double temperature = 1;
  void fields(ConfigFields& f);
};

struct GrpoSection {
  int64_t updates_per_rollout = 1, micro_batch_tokens = 4096;
  AdvantageConfig advantage;
  GrpoLossConfig loss;
  void fields(ConfigFields& f);
};

struct Recipe : TrainRecipe {
  TaskSection task;
  RolloutSection rollout;
  RewardSection reward;
  EvaluationSection evaluation;
  GrpoSection grpo;

  void fields(ConfigFields& f);
  void validate() const;
};

}  // namespace fathom
