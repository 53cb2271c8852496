// The loop around optimizer steps that every stage shares: metrics to run.db, progress, checkpoints by steps and seconds,
// Ctrl-C (finishes the step, writes a checkpoint), and a loss that is not finite (stops; the last checkpoint stays).
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "train/recipe.h"
#include "train/run_folder.h"

namespace fathom {

struct StepReport {
  std::vector<std::pair<std::string, double>> metrics;  // names under "time/" are left out of comparisons between runs
  std::string progress;                                 // shown behind the bar
  bool finite = true;
  std::string trouble;  // why not finite: what was seen first
};

struct StepLoop {
  std::string what = "train";  // on the progress line
  int64_t total_steps = 0;
  RunSection checkpoints;
  std::function<StepReport(int64_t step)> run_step;  // step = 1 … total_steps
  RunState state;                                    // tensors that run_step changes
};
struct StepLoopResult {
  int64_t step = 0, resumed_from = 0;
  double seconds = 0;    // of this process
  bool stopped = false;  // by a signal; a checkpoint of `step` was written
};
StepLoopResult run_steps(RunFolder& folder, StepLoop& loop);

}  // namespace fathom
