#include "posttrain/rollout.h"

#include "base/error.h"
#include "text/chat_template.h"

namespace fathom {

void score(ScoredAnswer& answer, const Task& task, const Problem& problem, const RewardSection& reward, int64_t max_tokens) {
  const ExtractedAnswer extracted = extract_answer(answer.text, /*starts_inside_think=*/true);
  answer.format_ok = extracted.format_ok && !answer.truncated;
  answer.reason = extracted.reason;
  answer.correct = false;
  if (answer.truncated) {
    answer.reason = "truncated";  // an answer without an end counts as none (spec §7)
  } else if (extracted.found) {
    const Verdict verdict = task.verify(problem, extracted.answer);
    answer.correct = verdict.correct;
    answer.reason = verdict.reason;
  }
  answer.reward = (answer.correct ? reward.correct : 0) + (answer.format_ok ? reward.format : 0);
  if (reward.soft_overlong > 0)
    answer.reward += soft_overlong_reward(static_cast<int64_t>(answer.ids.size()), max_tokens, reward.soft_overlong);
}

std::vector<ScoredAnswer> sample_answers(Engine& engine, const Tokenizer& tokenizer, const Task& task,
                                         const std::vector<Problem>& problems, int64_t answers_each, int64_t max_tokens,
                                         double temperature, SampleKey key,
                                         const std::function<void(int64_t, int64_t)>& on_progress,
                                         const std::function<bool()>& stop) {
  if (tokenizer.eos_id() < 0) fail_usage("rollout", "the tokenizer has no eos_token, so no answer would end");
  const ChatTemplate chat(tokenizer);
  ChatOptions options;
  options.thinking = true;
  std::vector<Request> requests;
  std::vector<ScoredAnswer> answers;
  for (size_t p = 0; p < problems.size(); ++p) {
    const std::vector<int32_t> prompt = chat.prompt(std::vector<ChatMessage>{{"user", problems[p].prompt, ""}}, options).ids;
    for (int64_t g = 0; g < answers_each; ++g) {
      Request r;
      r.prompt = prompt;
      r.sampling.temperature = static_cast<float>(temperature);
      r.max_tokens = max_tokens;
      r.stop_ids = {tokenizer.eos_id()};
      r.seed = key.seed, r.step = key.step, r.sequence = answers.size();
      requests.push_back(std::move(r));
      ScoredAnswer a;
      a.prompt = prompt;
      answers.push_back(std::move(a));
    }
  }
  std::vector<Completion> completions = engine.generate(std::move(requests), on_progress, stop);
  if (stop && stop()) return {};
  for (size_t i = 0; i < answers.size(); ++i) {
    ScoredAnswer& a = answers[i];
    Completion& c = completions[i];
    a.truncated = c.reason != FinishReason::kStop;
    const size_t text_ids = c.ids.size() - (a.truncated ? 0 : 1);
    a.text = tokenizer.decode(std::span(c.ids).first(text_ids));
    a.ids = std::move(c.ids);
    a.logps = std::move(c.logps);
    a.sampling_logps = std::move(c.sampling_logps);
    score(a, task, problems[i / static_cast<size_t>(answers_each)], RewardSection{}, max_tokens);
  }
  return answers;
}

PassRate measure_pass_rate(Engine& engine, const Tokenizer& tokenizer, const Task& task, uint64_t problem_seed, int64_t count,
                           int64_t max_tokens, double temperature, SampleKey key,
                           const std::function<void(int64_t, int64_t)>& on_progress, const std::function<bool()>& stop) {
  std::vector<Problem> problems;
  for (int64_t i = 0; i < count; ++i) problems.push_back(task.make(problem_seed, "test", static_cast<uint64_t>(i)));
  const std::vector<ScoredAnswer> answers =
      sample_answers(engine, tokenizer, task, problems, 1, max_tokens, temperature, key, on_progress, stop);
  PassRate rate;
  int64_t tokens = 0;
  for (const ScoredAnswer& a : answers) {
    ++rate.problems;
    rate.correct += a.correct ? 1 : 0;
    rate.truncated += a.truncated ? 1 : 0;
    rate.format_ok += a.format_ok ? 1 : 0;
    tokens += static_cast<int64_t>(a.ids.size());
  }
  if (rate.problems > 0) {
    rate.mean_tokens = static_cast<double>(tokens) / static_cast<double>(rate.problems);
    rate.interval = wilson_interval(rate.correct, rate.problems);
  }
  return rate;
}

}  // namespace fathom
