#include "train/step_loop.h"

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"

namespace fathom {

StepLoopResult run_steps(RunFolder& folder, StepLoop& loop) {
  StepLoopResult result;
  result.step = result.resumed_from = folder.restore(loop.state);
  if (result.step > 0)
    log_info("continues from the checkpoint of step " + std::to_string(result.step) + " of " +
             std::to_string(loop.total_steps));

  const double start = now_seconds();
  install_stop_handler();
  Progress progress(loop.what, loop.total_steps, "step");
  progress.update(result.step);
  double saved_at = now_seconds();
  int64_t saved_step = result.step;
  while (result.step < loop.total_steps) {
    const int64_t step = result.step + 1;
    const double begin = now_seconds();
    StepReport report = loop.run_step(step);
    if (!report.finite) {
      const std::string where = "step " + std::to_string(step) + ": " + report.trouble;
      folder.store().add_event(step, "not_finite", where);
      progress.finish();
      fail("train", where + "; nothing was updated, " +
                        (saved_step > 0 ? "the checkpoint of step " + std::to_string(saved_step) + " in " + folder.path() +
                                              " is the last good state"
                                        : "no checkpoint had been written yet") +
                        "; lower the learning rate, lengthen the warm-up, or look at the data of that step");
    }
    report.metrics.emplace_back("time/step_seconds", now_seconds() - begin);
    folder.store().add_metrics(step, report.metrics);
    result.step = step;

    result.stopped = stop_requested();
    const bool last = step == loop.total_steps;
    const bool by_steps = loop.checkpoints.checkpoint_steps > 0 && step % loop.checkpoints.checkpoint_steps == 0;
    const bool by_time =
        loop.checkpoints.checkpoint_seconds > 0 && now_seconds() - saved_at >= loop.checkpoints.checkpoint_seconds;
    if (last || result.stopped || by_steps || by_time) {
      folder.save(step, loop.state, loop.checkpoints.keep_checkpoints);
      saved_at = now_seconds();
      saved_step = step;
    }
    progress.update(step, report.progress);
    if (result.stopped && !last) {
      result.seconds = now_seconds() - start;
      progress.finish("stopped at step " + std::to_string(step) + "; its checkpoint is written");
      return result;
    }
  }
  result.stopped = false;
  result.seconds = now_seconds() - start;
  progress.finish();
  return result;
}

}  // namespace fathom
