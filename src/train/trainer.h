// Stages pretrain and sft: packed sequences -> micro-batches -> forward_backward -> clip -> AdamW -> router bias -> metrics.
#pragma once
#include <memory>
#include <string>

#include "optim/adamw.h"
#include "train/model_build.h"
#include "train/step_loop.h"
#include "train/train_data.h"

namespace fathom {

// Mean loss over held-out targets.
struct ValidationLoss {
  double nats_per_token = 0, nats_per_byte = 0;
  int64_t tokens = 0, bytes = 0;
};

class Trainer {
 public:
  Trainer(const TrainRecipe& recipe, RunFolder& folder);
  int64_t total_steps() const { return static_cast<int64_t>(plan_.size()); }
  StepReport step(int64_t step);                // 1 … total_steps; a pure function of weights, moments and the step's number
  ValidationLoss validate();                    // tokens = 0 where the recipe has no validation data
  RunState state();                             // what a checkpoint holds
  void write_model(const std::string& folder);  // a Hugging Face directory
  Decoder& model() { return model_; }

 private:
  const TrainRecipe& recipe_;
  RunFolder& folder_;
  std::string tokenizer_directory_;
  Tokenizer tokenizer_;
  TrainData data_;
  Decoder model_;
  AdamW optimizer_;
  std::vector<PlannedStep> plan_;
  double flops_per_token_ = 0;
};

struct TrainOptions {
  RunFolder::Resume resume = RunFolder::Resume::kNever;
  bool allow_rung_change = false;
};
struct TrainResult {
  int64_t steps = 0, tokens = 0, resumed_from = 0;
  bool stopped = false, reused = false;
  double seconds = 0, train_loss = 0;
  ValidationLoss validation;
  int64_t total_parameters = 0, active_parameters = 0;
  std::string model_directory;
};
// Trains to the end (or to Ctrl-C), leaves <run>/model and the result in run.db.
TrainResult train(const TrainRecipe& recipe, const std::string& recipe_yaml, const TrainOptions& options);
std::string to_json(const TrainResult& result);
TrainResult from_json(const std::string& text);

}  // namespace fathom
