// fathom demo: the main job, from nothing to a model that was reinforced and can be chatted with.
#include <cstdio>

#include "base/progress.h"
#include "cli/command.h"
#include "cli/metric_curve.h"
#include "posttrain/demo.h"

namespace fathom {
namespace {

void print_rate(const char* when, const PassRate& p) {
  std::printf("  %s  pass@1 %5.1f %%   95 %% interval %.1f to %.1f   (%lld of %lld held-out problems, %.0f tokens an answer)\n",
              when, 100 * p.rate(), 100 * p.interval.low, 100 * p.interval.high, static_cast<long long>(p.correct),
              static_cast<long long>(p.problems), p.mean_tokens);
}

void print_answer(const char* who, const std::string& text, bool correct) {
  std::printf("\n%s (%s):\n  <think>\n", who, correct ? "correct" : "wrong");
  std::string line;
  for (const char c : text + "\n") {
    if (c != '\n')
      line.push_back(c);
    else if (!line.empty())
      std::printf("  %s\n", line.c_str()), line.clear();
  }
}

}  // namespace

int command_demo(int argc, char** argv) {
  CommandLine command{"Trains a small DeepSeek-V3 on reasoning traces, reinforces it with GRPO, and shows before and after.",
                      "fathom demo"};
  std::string directory = "demo";
  bool quick = false, json = false;
  command.add_option("--dir", directory, "where everything is kept; a second call continues or reuses it").show_default();
  command.add_flag("--quick", quick, "a smaller model for a shorter time: to see that everything works");
  command.add_flag("--json", json, "print the result as one JSON object");
  add_threads_option(command);
  if (const auto code = command.parse(argc, argv)) return *code;

  const DemoPlan plan = make_demo_plan(directory, quick);
  std::fprintf(
      stderr,
      "fathom demo: a DeepSeek-V3 (MLA, experts, MTP) from nothing, on problems that the program makes itself.\n"
      "  1. write %lld worked solutions   2. train a tokenizer   3. train on the solutions\n"
      "  4. measure on %lld held-out problems   5. reinforce with GRPO   6. measure again\n"
      "This takes about %lld minutes on two cores; Ctrl-C is safe, the next call continues. Everything is kept in %s/.\n\n",
      static_cast<long long>(plan.num_traces), static_cast<long long>(plan.grpo.evaluation.problems),
      static_cast<long long>(plan.estimated_minutes), directory.c_str());
  const DemoResult r = run_demo(plan);
  if (r.stopped) {
    std::fprintf(stderr, "stopped; the same command continues\n");
    if (json) std::printf("%s\n", to_json(r).c_str());
    return 1;
  }
  if (json) {
    std::printf("%s\n", to_json(r).c_str());
    return 0;
  }
  print_metric_curve(plan.sft.run, "loss", "training on worked solutions: loss by step");
  std::printf("\n");
  print_metric_curve(plan.grpo.run, "reward/accuracy", "reinforcement: share of correct answers by step");
  std::printf("\nOne held-out problem: %s\n", r.example.problem.c_str());
  print_answer("before reinforcement", r.example.before, r.example.before_correct);
  print_answer("after reinforcement", r.example.after, r.example.after_correct);
  std::printf("\nModel: %lld parameters, %lld active. Rollout and trainer agreed on every log-probability, bit for bit.\n",
              static_cast<long long>(r.sft.total_parameters), static_cast<long long>(r.sft.active_parameters));
  if (r.grpo.before) print_rate("before", *r.grpo.before);
  if (r.grpo.after) print_rate("after ", *r.grpo.after);
  std::printf("  the two intervals %s\n", r.intervals_apart() ? "lie apart: the gain is real" : "overlap: no gain is shown");
  std::printf("\nTalk to it:      fathom chat %s\nSee its curves:  fathom runs show %s\n", r.model_directory.c_str(),
              plan.grpo.run.c_str());
  return 0;
}

}  // namespace fathom
