// The main job in minutes: on problems that the program makes itself, train a tokenizer and a small DeepSeek-V3 on worked
// solutions, measure it, reinforce it with GRPO, measure again, leave a model to chat with. Each stage is a folder below
// `directory`; a second call reuses what is there and continues what was interrupted.
#pragma once
#include <string>

#include "posttrain/grpo_trainer.h"
#include "train/trainer.h"

namespace fathom {

struct DemoPlan {
  bool quick = false;
  std::string directory = "demo";
  int64_t num_traces = 0;  // worked solutions written as training data
  Recipe sft, grpo;
  TaskSection task;
  TokenizerSection tokenizer;
  int64_t estimated_minutes = 0;
};
DemoPlan make_demo_plan(const std::string& directory, bool quick);

struct DemoExample {
  std::string problem, before, after;
  bool before_correct = false, after_correct = false;
};
struct DemoResult {
  TrainResult sft;
  GrpoResult grpo;
  DemoExample example;
  bool stopped = false;
  double seconds = 0;
  std::string model_directory;
  bool intervals_apart() const { return grpo.before && grpo.after && grpo.after->interval.low > grpo.before->interval.high; }
};
DemoResult run_demo(const DemoPlan& plan);
std::string to_json(const DemoResult& result);

}  // namespace fathom
