// fathom train RECIPE: one training stage from a recipe.
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/metric_curve.h"
#include "posttrain/grpo_trainer.h"
#include "train/trainer.h"

namespace fathom {
namespace {

int print_stopped(const std::string& recipe, const std::string& run, int64_t steps) {
  std::fprintf(stderr, "stopped after step %lld; continue with: fathom train %s --resume auto   (run folder %s)\n",
               static_cast<long long>(steps), recipe.c_str(), run.c_str());
  return 1;
}

}  // namespace

int command_train(int argc, char** argv) {
  CommandLine command{"Runs one training stage from a recipe: pretrain, sft or grpo.", "fathom train"};
  std::string recipe_path, resume = "never";
  std::vector<std::string> overrides;
  bool json = false, reference = false, allow_rung_change = false;
  command.add_option("recipe", recipe_path, "YAML recipe; see recipes/ and --fields");
  command.add_option("--set", overrides, "override a field, as --set schedule.lr=1e-3; may be repeated");
  command.add_option("--resume", resume, "auto: continue the run in the recipe's folder, or start it")
      .one_of({"auto", "never"});
  command.add_flag("--allow-rung-change", allow_rung_change,
                   "continue although instruction set or compute type differ from the checkpoint's");
  command.add_flag("--json", json, "print the result as one JSON object");
  command.add_flag("--fields", reference, "print every recipe field with default, range and help");
  add_threads_option(command);
  command.footer(
      "The run folder holds recipe.yaml (resolved), log.txt, run.db (metrics, samples, events), checkpoints/ and, at the end, "
      "model/:\n"
      "a Hugging Face directory. Ctrl-C finishes the step and writes a checkpoint; a killed run continues bit for bit with "
      "--resume auto.\n"
      "Example: fathom train recipes/tinyshakespeare.yaml --set run=runs/shakespeare --resume auto");
  if (const auto code = command.parse(argc, argv)) return *code;

  Recipe recipe;
  const ConfigBody body = [&recipe](ConfigFields& f) { recipe.fields(f); };
  if (reference) {
    std::fputs(config_reference(body).c_str(), stdout);
    return 0;
  }
  if (recipe_path.empty()) fail_usage("cli", "no recipe is given; fathom train RECIPE.yaml");
  if (!file_exists(recipe_path)) fail_usage("cli", recipe_path + " is not there; give the path of a recipe");
  read_config(recipe_path, overrides, body);
  recipe.validate();
  const RunFolder::Resume mode = resume == "auto" ? RunFolder::Resume::kAuto : RunFolder::Resume::kNever;

  if (recipe.stage == "grpo") {
    const GrpoResult r = train_grpo(recipe, {mode, allow_rung_change});
    if (json) std::printf("%s\n", to_json(r).c_str());
    if (r.stopped) return print_stopped(recipe_path, recipe.run, r.steps);
    if (json) return 0;
    print_metric_curve(recipe.run, "reward/accuracy", "accuracy of the rollouts by step");
    const auto line = [](const char* when, const PassRate& p) {
      std::printf("%s: pass@1 %.1f %% (95 %%: %.1f to %.1f; %lld of %lld problems)\n", when, 100 * p.rate(),
                  100 * p.interval.low, 100 * p.interval.high, static_cast<long long>(p.correct),
                  static_cast<long long>(p.problems));
    };
    if (r.before) line("before", *r.before);
    if (r.after) line("after ", *r.after);
    std::printf("model: %s\n", r.model_directory.c_str());
    return 0;
  }
  const TrainResult r = train(recipe, config_to_yaml(body), {mode, allow_rung_change});
  if (json) std::printf("%s\n", to_json(r).c_str());
  if (r.stopped) return print_stopped(recipe_path, recipe.run, r.steps);
  if (json) return 0;
  print_metric_curve(recipe.run, "loss", "training loss by step");
  if (r.reused) std::printf("%s was finished before; this is its result\n", recipe.run.c_str());
  std::printf("%lld steps, %lld tokens in %s; training loss %.4f\n", static_cast<long long>(r.steps),
              static_cast<long long>(r.tokens), format_duration(r.seconds).c_str(), r.train_loss);
  if (r.validation.tokens > 0)
    std::printf("validation loss: %.4f nats per token, %.4f nats per byte (%lld tokens)\n", r.validation.nats_per_token,
                r.validation.nats_per_byte, static_cast<long long>(r.validation.tokens));
  std::printf("model: %s\n", r.model_directory.c_str());
  return 0;
}

}  // namespace fathom
