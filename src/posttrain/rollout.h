// From problems to scored answers: prompts in DeepSeek-R1's form, opened at <think>; sampling by the engine; exact verifiers.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "posttrain/grpo_recipe.h"
#include "tasks/task.h"
#include "text/tokenizer.h"

namespace fathom {

struct ScoredAnswer {
  std::vector<int32_t> prompt, ids;   // ids: what was sampled, the end token included
  std::vector<float> logps;           // of ids, under the policy at temperature 1
  std::vector<float> sampling_logps;  // of ids, under the distribution drawn from
  std::string text;                   // ids decoded, special tokens spelt out, without the end token
  bool truncated = false, correct = false, format_ok = false;
  std::string reason;  // why not correct
  double reward = 0;
};

// Whatever asks for answers states where the randomness comes from (engine.h: Request).
struct SampleKey {
  uint64_t seed = 0, step = 0;
};
// `answers_each` answers to every problem, in order: problem p's are [p * answers_each, …). `stop` may end it early (empty).
std::vector<ScoredAnswer> sample_answers(Engine& engine, const Tokenizer& tokenizer, const Task& task,
                                         const std::vector<Problem>& problems, int64_t answers_each, int64_t max_tokens,
                                         double temperature, SampleKey key,
                                         const std::function<void(int64_t, int64_t)>& on_progress = nullptr,
                                         const std::function<bool()>& stop = nullptr);
// Verifier, format, length: fills reward.
void score(ScoredAnswer& answer, const Task& task, const Problem& problem, const RewardSection& reward, int64_t max_tokens);

// pass@1: one answer to each of `count` problems of the "test" split.
struct PassRate {
  int64_t correct = 0, problems = 0, truncated = 0, format_ok = 0;
  double mean_tokens = 0;
  Interval interval;
  double rate() const { return problems == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(problems); }
};
PassRate measure_pass_rate(Engine& engine, const Tokenizer& tokenizer, const Task& task, uint64_t problem_seed, int64_t count,
                           int64_t max_tokens, double temperature, SampleKey key,
                           const std::function<void(int64_t, int64_t)>& on_progress = nullptr,
                           const std::function<bool()>& stop = nullptr);

}  // namespace fathom
