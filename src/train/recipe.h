// A training run as one recipe: every field once, with default, range and one line of help (base/config.h). Model fields bear
// the names of the published config.json. The stages share these sections; posttrain/ adds its own.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "model/decoder.h"
#include "optim/adamw.h"
#include "optim/lr_schedule.h"
#include "text/tokenizer.h"

namespace fathom {

// model: start from a checkpoint (path), from another config.json (config), or from the fields given here.
struct ModelSection {
  std::string path, config;
  ModelConfig shape;
  double init_std = 0;  // 0: initializer_range
  void fields(ConfigFields& f);
};

// compute: what decides the bits of a step, and what is only about speed.
struct ComputeSection {
  std::string compute = "f32", mla = "expanded";
  void fields(ConfigFields& f);
  Numerics numerics() const;
};

struct TokenizerSection {
  std::string path;          // a directory with tokenizer.json; empty: train one, kept in the run folder
  int64_t vocab_size = 256;  // 256: bytes alone; special tokens count too
  bool chat = false;         // DeepSeek-R1's control tokens and chat template
  std::vector<std::string> special_tokens;
  std::string bos_token, eos_token, pad_token, pattern;
  void fields(ConfigFields& f);
  TokenizerTraining training(int64_t max_position) const;
};

struct DataSection {
  std::vector<std::string> train, validation;
  double held_out = 0;  // share of the end of `train` kept for validation, where no validation files are given
  std::string packing;
  int64_t context = 256;
  void fields(ConfigFields& f);
};

struct ScheduleSection {
  int64_t tokens = 0;  // the run's length in token positions
  int64_t sequences_per_step = 16, micro_batch_sequences = 0;
  std::vector<double> batch_ramp;
  LrSchedule lr;
  std::vector<double> mtp_weight = {0, 0.3}, bias_speed = {0, 0.001};
  double balance_alpha = 1e-4;
  void fields(ConfigFields& f);
};

struct RunSection {
  int64_t checkpoint_steps = 0, keep_checkpoints = 2, eval_steps = 0, eval_tokens = 0;
  double checkpoint_seconds = 60;
  std::string model_dtype = "bf16";
  void fields(ConfigFields& f);
};

struct TrainRecipe {
  std::string stage = "pretrain", run;
  int64_t seed = 1;
  ModelSection model;
  ComputeSection compute;
  TokenizerSection tokenizer;
  DataSection data;
  AdamWConfig optimizer;
  ScheduleSection schedule;
  RunSection checkpoints;

  void fields(ConfigFields& f);
  std::string packing() const;  // data.packing, or the stage's own
  void validate() const;        // what no single field's range can say; Error (usage)
};

// One optimizer step of the plan: a pure function of the recipe, so that a resumed run needs only the step's number.
struct PlannedStep {
  int64_t sequences = 0, tokens_before = 0, tokens_after = 0;
};
std::vector<PlannedStep> plan_steps(const ScheduleSection& schedule, int64_t context);

}  // namespace fathom
