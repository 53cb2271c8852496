#include "posttrain/grpo_trainer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/hf_directory.h"
#include "ops/moe_gate/moe_gate.h"
#include "optim/adamw.h"
#include "posttrain/grpo_batch.h"
#include "train/model_build.h"
#include "train/step_loop.h"

namespace fathom {
namespace {

constexpr uint64_t kEvaluationSteps = uint64_t{1} << 40;  // evaluations draw their own numbers: never those of a training step

class GrpoStage {
 public:
  GrpoStage(const Recipe& recipe, RunFolder& folder)
      : recipe_(recipe),
        folder_(folder),
        tokenizer_directory_(find_tokenizer(recipe, folder.tokenizer_directory())),
        tokenizer_(Tokenizer::from_directory(tokenizer_directory_)),
        task_(make_task(recipe.task.name, recipe.task.option_pairs())),
        model_(build_model(recipe, tokenizer_)),
        optimizer_(model_.parameters(), recipe.optimizer),
        loss_config_(recipe.grpo.loss) {
    loss_config_.max_length = recipe.rollout.max_tokens;
    if (loss_config_.beta > 0) {
      reference_ = std::make_unique<Decoder>(load_model(recipe.model.path, recipe.compute.numerics(), /*training=*/false));
    }
    EngineConfig config;
    config.cache_bytes = static_cast<int64_t>(recipe.rollout.cache_mib * 1024 * 1024);
    engine_ = std::make_unique<Engine>(model_, config);
    if (recipe.rollout.temperature != 1)
      log_warning("rollout.temperature is " + std::to_string(recipe.rollout.temperature) +
                  ": answers are drawn from another distribution than the one that is trained");
  }

  RunState state() {
    RunState s;
    for (Parameter* p : model_.parameters()) s.tensors.emplace_back(p->name, p->value);
    for (auto& named : optimizer_.state()) s.tensors.push_back(named);
    s.numerics = model_.numerics().identity();
    s.save_scalars = [this](StateScalars& scalars) { scalars.integers["optimizer_steps"] = optimizer_.steps_done(); };
    s.load_scalars = [this](const StateScalars& scalars) { optimizer_.set_steps_done(scalars.integer("optimizer_steps")); };
    s.write_model = [this](const std::string& folder) { write_model(folder); };
    return s;
  }

  StepReport step(int64_t step);
  PassRate evaluate(int64_t step);
  void write_model(const std::string& folder) {
    save_model(model_, folder, recipe_.checkpoints.model_dtype == "bf16" ? DType::kBF16 : DType::kF32, tokenizer_directory_);
  }

 private:
  void refresh_rollout() {
    model_.prepack();
    engine_->reset_cache();
  }
  // Answers `which`, packed up to micro_batch_tokens rows at a time.
  void for_micro_batches(std::span<const ScoredAnswer> answers, const std::vector<size_t>& which,
                         const std::function<void(const GrpoBatch&, std::span<const size_t>)>& run);
  // One optimizer step over answers (whole groups).
  AdamW::Result update(std::span<const ScoredAnswer> answers, std::span<const double> advantages, double lr, bool first_update,
                       GrpoSums& sums, Mismatch& mismatch);

  const Recipe& recipe_;
  RunFolder& folder_;
  std::string tokenizer_directory_;
  Tokenizer tokenizer_;
  std::unique_ptr<Task> task_;
  Decoder model_;
  std::unique_ptr<Decoder> reference_;
  AdamW optimizer_;
  std::unique_ptr<Engine> engine_;
  GrpoLossConfig loss_config_;
};

void add_sums(GrpoSums& to, const GrpoSums& from) {
  to.loss += from.loss, to.kl += from.kl, to.ratio += from.ratio;
  to.tokens += from.tokens, to.clipped_low += from.clipped_low, to.clipped_high += from.clipped_high;
}

void compare(const GrpoBatch& batch, const std::vector<float>& rows, Mismatch& mismatch) {
  for (size_t i = 0; i < batch.answers.size(); ++i) mismatch.compare(batch.tokens_of(i, rows), batch.answers[i]->logps);
}

void GrpoStage::for_micro_batches(std::span<const ScoredAnswer> answers, const std::vector<size_t>& which,
                                  const std::function<void(const GrpoBatch&, std::span<const size_t>)>& run) {
  size_t begin = 0;
  while (begin < which.size()) {
    GrpoBatch batch;
    size_t end = begin;
    while (end < which.size()) {
      const ScoredAnswer& a = answers[which[end]];
      const int64_t rows = static_cast<int64_t>(a.prompt.size() + a.ids.size()) - 1;
      if (end > begin && batch.batch.num_rows() + rows > recipe_.grpo.micro_batch_tokens) break;
      batch.add(a);
      ++end;
    }
    run(batch, std::span(which).subspan(begin, end - begin));
    begin = end;
  }
}

AdamW::Result GrpoStage::update(std::span<const ScoredAnswer> answers, std::span<const double> advantages, double lr,
                                bool first_update, GrpoSums& sums, Mismatch& mismatch) {
  const bool mask_truncated = recipe_.rollout.truncated == "mask";
  // Denominators of the whole optimizer step, before any micro-batch runs.
  GrpoDenominators denominators;
  for (const ScoredAnswer& a : answers) {
    ++denominators.sequences;
    if (!(mask_truncated && a.truncated)) denominators.tokens += static_cast<int64_t>(a.ids.size());
  }
  denominators.tokens = std::max<int64_t>(1, denominators.tokens);

  // An answer without advantage teaches nothing where neither KL nor balance loss pulls: its forward is run for the
  // comparison with the rollout, its backward is not.
  const bool advantage_alone = !reference_ && recipe_.schedule.balance_alpha == 0;
  std::vector<size_t> trained, compared;
  for (size_t i = 0; i < answers.size(); ++i) {
    const bool teaches = !(mask_truncated && answers[i].truncated) && advantages[i] != 0;
    (teaches || !advantage_alone ? trained : compared).push_back(i);
  }
  if (first_update)
    for_micro_batches(answers, compared, [&](const GrpoBatch& batch, std::span<const size_t>) {
      compare(batch, model_.token_log_probs(batch.batch, batch.targets), mismatch);
    });
  bool first = true;
  for_micro_batches(answers, trained, [&](const GrpoBatch& batch, std::span<const size_t> which) {
    std::vector<double> batch_advantages;
    std::vector<bool> masked;
    for (const size_t i : which) {
      batch_advantages.push_back(advantages[i]);
      masked.push_back(mask_truncated && answers[i].truncated);
    }
    std::vector<float> ref_rows, logp_rows;
    if (reference_) ref_rows = reference_->token_log_probs(batch.batch, batch.targets);
    if (loss_config_.ratio == "sequence") logp_rows = model_.token_log_probs(batch.batch, batch.targets);
    GrpoObjective objective(loss_config_, denominators, batch, std::move(batch_advantages), std::move(masked),
                            std::move(ref_rows), logp_rows);
    BackwardOptions options;
    options.balance_alpha = static_cast<float>(recipe_.schedule.balance_alpha);
    options.balance_scale = static_cast<float>(which.size()) / static_cast<float>(trained.size());
    options.first_micro_batch = first;
    first = false;
    const BackwardResult result = model_.forward_backward(batch.batch, batch.targets, objective.objective(), options);
    if (first_update) compare(batch, result.logp, mismatch);
    add_sums(sums, objective.sums());
  });
  if (trained.empty()) return {};  // no group of this update differs in its rewards: nothing to learn, nothing moves
  const AdamW::Result result = optimizer_.step(lr);
  model_.drop_packed();  // the weights changed
  return result;
}

StepReport GrpoStage::step(int64_t step) {
  if (step == 1 && recipe_.evaluation.problems > 0) evaluate(0);
  const RolloutSection& rollout = recipe_.rollout;
  const uint64_t seed = static_cast<uint64_t>(recipe_.seed);
  const int64_t groups = rollout.prompts_per_step, size = rollout.group_size;

  std::vector<Problem> problems;
  for (int64_t p = 0; p < groups; ++p)
    problems.push_back(task_->make(seed, "train", static_cast<uint64_t>((step - 1) * groups + p)));
  refresh_rollout();
  const double rollout_begin = now_seconds();
  std::vector<ScoredAnswer> answers = sample_answers(*engine_, tokenizer_, *task_, problems, size, rollout.max_tokens,
                                                     rollout.temperature, {seed, static_cast<uint64_t>(step)});
  const double rollout_seconds = now_seconds() - rollout_begin;

  StepReport report;
  std::vector<std::vector<double>> rewards;
  std::map<std::string, int64_t> reasons;
  double reward_sum = 0, logp_sum = 0;
  int64_t correct = 0, format = 0, truncated = 0, tokens = 0, longest = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    ScoredAnswer& a = answers[i];
    const Problem& problem = problems[i / static_cast<size_t>(size)];
    score(a, *task_, problem, recipe_.reward, rollout.max_tokens);
    rewards.push_back({a.reward});
    reward_sum += a.reward;
    correct += a.correct ? 1 : 0, format += a.format_ok ? 1 : 0, truncated += a.truncated ? 1 : 0;
    tokens += static_cast<int64_t>(a.ids.size());
    longest = std::max(longest, static_cast<int64_t>(a.ids.size()));
    for (const float logp : a.logps) logp_sum += logp;
    if (!a.correct) ++reasons[a.reason];
    if (static_cast<int64_t>(i) < rollout.samples_logged)
      folder_.store().add_sample(step, static_cast<int64_t>(i), problem.prompt, a.text, a.reward,
                                 a.correct ? "correct" : a.reason);
  }
  const Advantages advantages = group_advantages(rewards, std::vector<double>{1}, size, recipe_.grpo.advantage);

  const LrSchedule& schedule = recipe_.schedule.lr;
  // Schedules of this stage count rollouts, not tokens: warmup_tokens and decay_tokens are answers.
  const double lr = schedule.at((step - 1) * groups * size, step * groups * size, rollout.steps * groups * size);
  GrpoSums sums;
  Mismatch mismatch;
  double grad_norm = 0;
  model_.reset_load();
  const int64_t updates = recipe_.grpo.updates_per_rollout;
  for (int64_t u = 0; u < updates; ++u) {
    const size_t begin = static_cast<size_t>(groups * u / updates * size),
                 end = static_cast<size_t>(groups * (u + 1) / updates * size);
    const AdamW::Result result =
        update(std::span(answers).subspan(begin, end - begin), std::span(advantages.advantage).subspan(begin, end - begin), lr,
               u == 0, sums, mismatch);
    grad_norm = std::max(grad_norm, result.grad_norm);
    if (!result.finite || !std::isfinite(sums.loss)) {
      report.finite = false;
      report.trouble =
          !std::isfinite(sums.loss) ? "the loss is not finite" : "the gradient of " + result.bad_parameter + " is not finite";
      return report;
    }
  }
  // The router's bias is frozen while a rollout is trained on (spec §7) and moves between steps.
  const double bias_speed = StepSchedule::at(recipe_.schedule.bias_speed, step - 1, rollout.steps);
  if (bias_speed > 0) model_.update_bias(static_cast<float>(bias_speed));

  if (mismatch.different > 0) {
    const std::string text =
        std::to_string(mismatch.different) + " of " + std::to_string(mismatch.tokens) +
        " sampled tokens have another log-probability in the trainer than in the rollout (largest difference " +
        std::to_string(mismatch.max_difference) + ")";
    if (rollout.on_mismatch == "error")
      fail("posttrain", "step " + std::to_string(step) + ": " + text + "; rollout.on_mismatch=warn goes on");
    log_warning("step " + std::to_string(step) + ": " + text);
  }

  const double n = static_cast<double>(answers.size()), loss_tokens = static_cast<double>(std::max<int64_t>(1, sums.tokens));
  const double accuracy = static_cast<double>(correct) / n;
  report.metrics = {
      {"reward/mean", reward_sum / n},
      {"reward/accuracy", accuracy},
      {"reward/format", static_cast<double>(format) / n},
      {"reward/frac_reward_zero_std", advantages.frac_reward_zero_std},
      {"length/mean", static_cast<double>(tokens) / n},
      {"length/max", static_cast<double>(longest)},
      {"length/truncated", static_cast<double>(truncated) / n},
      {"policy/entropy", -logp_sum / static_cast<double>(tokens)},  // of the sampled tokens: unbiased at temperature 1
      {"policy/kl", sums.kl / loss_tokens},
      {"policy/ratio", sums.ratio / loss_tokens},
      {"policy/clip_low", static_cast<double>(sums.clipped_low) / loss_tokens},
      {"policy/clip_high", static_cast<double>(sums.clipped_high) / loss_tokens},
      {"policy/loss", sums.loss},
      {"rollout_logp_mismatch", static_cast<double>(mismatch.different)},
      {"rollout_logp_compared", static_cast<double>(mismatch.tokens)},
      {"rollout_logp_max_difference", mismatch.max_difference},
      {"lr", lr},
      {"grad_norm", grad_norm},
      {"tokens/generated", static_cast<double>(tokens)},
      {"time/rollout_seconds", rollout_seconds},
      {"time/rollout_tokens_per_second", static_cast<double>(tokens) / rollout_seconds}};
  for (const auto& [reason, count] : reasons) report.metrics.emplace_back("refused/" + reason, static_cast<double>(count) / n);
  for (const Decoder::LayerLoad& load : model_.loads())
    report.metrics.emplace_back("max_vio/" + load.layer, max_violation(load.counts));

  const bool due = recipe_.evaluation.every > 0 && step % recipe_.evaluation.every == 0;
  if (recipe_.evaluation.problems > 0 && (due || step == rollout.steps)) evaluate(step);
  char text[160];
  std::snprintf(text, sizeof text, "accuracy %.2f, length %.0f, entropy %.3f, logp mismatch %lld of %lld", accuracy,
                static_cast<double>(tokens) / n, -logp_sum / static_cast<double>(tokens),
                static_cast<long long>(mismatch.different), static_cast<long long>(mismatch.tokens));
  report.progress = text;
  return report;
}

PassRate GrpoStage::evaluate(int64_t step) {
  refresh_rollout();
  const EvaluationSection& e = recipe_.evaluation;
  const uint64_t seed = static_cast<uint64_t>(recipe_.seed);
  const PassRate rate = measure_pass_rate(*engine_, tokenizer_, *task_, seed, e.problems, recipe_.rollout.max_tokens,
                                          e.temperature, {seed, kEvaluationSteps});
  folder_.store().add_metrics(step, {{"eval/correct", static_cast<double>(rate.correct)},
                                     {"eval/problems", static_cast<double>(rate.problems)},
                                     {"eval/pass_at_1", rate.rate()},
                                     {"eval/low", rate.interval.low},
                                     {"eval/high", rate.interval.high},
                                     {"eval/truncated", static_cast<double>(rate.truncated)},
                                     {"eval/format", static_cast<double>(rate.format_ok)},
                                     {"eval/mean_tokens", rate.mean_tokens}});
  return rate;
}

// What evaluate() wrote for a step.
std::optional<PassRate> stored_rate(RunStore& store, int64_t step) {
  const auto value = [&](const char* name) -> std::optional<double> {
    for (const RunStore::Point& p : store.metric(name))
      if (p.step == step) return p.value;
    return std::nullopt;
  };
  const auto problems = value("eval/problems");
  if (!problems || *problems == 0) return std::nullopt;
  PassRate rate;
  rate.problems = static_cast<int64_t>(*problems);
  rate.correct = static_cast<int64_t>(value("eval/correct").value_or(0));
  rate.truncated = static_cast<int64_t>(value("eval/truncated").value_or(0));
  rate.format_ok = static_cast<int64_t>(value("eval/format").value_or(0));
  rate.mean_tokens = value("eval/mean_tokens").value_or(0);
  rate.interval = wilson_interval(rate.correct, rate.problems);
  return rate;
}

}  // namespace

GrpoResult train_grpo(const Recipe& recipe, const GrpoOptions& options) {
  recipe.validate();
  Recipe copy = recipe;
  RunFolder folder = RunFolder::open(recipe.run, options.resume, config_to_yaml([&copy](ConfigFields& f) { copy.fields(f); }));
  GrpoResult result;
  result.model_directory = folder.model_directory();
  if (folder.result().empty()) {
    GrpoStage stage(recipe, folder);
    StepLoop loop;
    loop.what = "grpo";
    loop.total_steps = recipe.rollout.steps;
    loop.checkpoints = recipe.checkpoints;
    loop.state = stage.state();
    loop.state.allow_rung_change = options.allow_rung_change;
    loop.run_step = [&stage](int64_t step) { return stage.step(step); };
    const StepLoopResult done = run_steps(folder, loop);
    result.steps = done.step, result.resumed_from = done.resumed_from, result.stopped = done.stopped,
    result.seconds = done.seconds;
    if (result.stopped) return result;
    write_directory_atomic(folder.model_directory(), [&](const std::string& temporary) { stage.write_model(temporary); });
  } else {
    result.reused = true;
    result.steps = recipe.rollout.steps;
  }
  result.before = stored_rate(folder.store(), 0);
  result.after = stored_rate(folder.store(), recipe.rollout.steps);
  if (!result.reused) folder.set_result(to_json(result));
  return result;
}

std::string to_json(const GrpoResult& result) {
  Json j;
  j["stage"] = "grpo";
  j["steps"] = result.steps;
  j["stopped"] = result.stopped;
  j["model"] = result.model_directory;
  const auto rate = [](const std::optional<PassRate>& r) -> Json {
    if (!r) return nullptr;
    return {{"pass_at_1", r->rate()},       {"interval_95", {r->interval.low, r->interval.high}},
            {"correct", r->correct},        {"problems", r->problems},
            {"truncated", r->truncated},    {"format_ok", r->format_ok},
            {"mean_tokens", r->mean_tokens}};
  };
  j["before"] = rate(result.before);
  j["after"] = rate(result.after);
  j["seconds"] = result.seconds;
  return j.dump(2);
}

}  // namespace fathom
