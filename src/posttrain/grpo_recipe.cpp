#include "posttrain/grpo_recipe.h"

#include "base/error.h"

namespace fathom {

void TaskSection::fields(ConfigFields& f) {
  f.field("name", name, "task whose problems are asked and whose verifier rewards (arithmetic, countdown)");
  f.field("options", options, "options of the task, as [digits=2]");
}
std::vector<std::pair<std::string, std::string>> TaskSection::option_pairs() const {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& option : options) {
    const size_t at = option.find('=');
    if (at == std::string::npos || at == 0) fail_usage("posttrain", "task option '" + option + "' has no name=value form");
    pairs.emplace_back(option.substr(0, at), option.substr(at + 1));
  }
  return pairs;
}

void RolloutSection::fields(ConfigFields& f) {
  f.field("steps", steps, "rollouts: each asks prompts_per_step problems group_size times", 1);
  f.field("prompts_per_step", prompts_per_step, "problems of a step", 1, 1 << 20);
  f.field("group_size", group_size, "answers to each problem (G)", 2, 1 << 14);
  f.field("max_tokens", max_tokens, "longest answer in tokens", 1, 1 << 24);
  f.field("temperature", temperature, "of the rollouts; other than 1 they are off-policy", 0.01, 10);
  f.field("truncated", truncated, "an answer without an end: reward 0, or left out of the loss (overlong filtering)",
          {"zero", "mask"});
  f.field("on_mismatch", on_mismatch, "the trainer's log-probability of a sampled token has other bits than the rollout's",
          {"error", "warn"});
  f.field("cache_mib", cache_mib, "key-value cache of the rollouts in MiB", 1, 1e9);
  f.field("samples_logged", samples_logged, "answers of each step written to run.db", 0, 1 << 20);
}

void RewardSection::fields(ConfigFields& f) {
  f.field("correct", correct, "reward of an answer that the verifier accepts", -100, 100);
  f.field("format", format, "reward of <think>…</think> then one <answer>…</answer> and nothing after", -100, 100);
  f.field("soft_overlong", soft_overlong, "tokens before max_tokens over which DAPO's length punishment grows to -1; 0: none",
          0);
}

void EvaluationSection::fields(ConfigFields& f) {
  f.field("problems", problems, "held-out problems measured; 0: none", 0, 1 << 24);
  f.field("every", every, "measure every so many steps; 0: before the first and after the last step", 0);
  f.field("temperature", temperature, "of the answers; 0: greedy", 0, 10);
}

void GrpoSection::fields(ConfigFields& f) {
  f.field("updates_per_rollout", updates_per_rollout, "mini-batches (of whole groups) into which a rollout is split", 1,
          1 << 16);
  f.field("micro_batch_tokens", micro_batch_tokens, "tokens of one forward and backward; does not change the result's meaning",
          16, 1 << 24);
  f.section("advantage", advantage, "rewards to advantages");
  f.section("loss", loss, "ratio, clipping, KL, aggregation");
}

void Recipe::fields(ConfigFields& f) {
  TrainRecipe::fields(f);
  f.section("task", task, "grpo: problems and verifier");
  f.section("rollout", rollout, "grpo: what is sampled");
  f.section("reward", reward, "grpo: rule rewards (R1 §2.2.2)");
  f.section("evaluation", evaluation, "grpo: pass@1 on held-out problems");
  f.section("grpo", grpo, "grpo: the objective");
}

void Recipe::validate() const {
  TrainRecipe::validate();
  if (stage == "grpo") {
    if (task.name.empty()) fail_usage("posttrain", "task.name is empty; stage grpo needs a task");
    if (model.path.empty()) fail_usage("posttrain", "model.path is empty; stage grpo starts from a trained model");
    if (grpo.updates_per_rollout > rollout.prompts_per_step)
      fail_usage("posttrain", "grpo.updates_per_rollout " + std::to_string(grpo.updates_per_rollout) +
                                  " exceeds rollout.prompts_per_step " + std::to_string(rollout.prompts_per_step) +
                                  "; a mini-batch is made of whole groups");
    task.option_pairs();
    return;
  }
  // Sections of another stage must not be silently ignored.
  const Recipe defaults;
  const auto yaml = [](const auto& section) {
    auto copy = section;
    return config_to_yaml([&copy](ConfigFields& f) { copy.fields(f); });
  };
  const auto refuse = [&](const char* name, const auto& mine, const auto& other) {
    if (yaml(mine) != yaml(other))
      fail_usage("posttrain", std::string(name) + " is for stage grpo, and the stage is " + stage + "; remove it");
  };
  refuse("task", task, defaults.task);
  refuse("rollout", rollout, defaults.rollout);
  refuse("reward", reward, defaults.reward);
  refuse("evaluation", evaluation, defaults.evaluation);
  refuse("grpo", grpo, defaults.grpo);
}

}  // namespace fathom
