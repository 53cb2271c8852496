// One training step (forward, backward, clipping, AdamW) of three small models, as a user would otherwise run them with
// PyTorch: seq 512 x batch 4, random tokens, bf16 compute over f32 masters.
//   small     DeepSeek-V3: hidden 256, 6 layers (1 dense), 16 experts top 4 + 1 shared, 11.5 M parameters
//   medium    DeepSeek-V3: hidden 768, 8 layers (1 dense), 32 experts top 4 + 1 shared, 246 M parameters
//   dense50m  Qwen2: hidden 640, 9 layers, tied
#pragma once
#include <string>
#include <vector>

#include "model/model_config.h"

namespace fathom {

struct TrainBenchOptions {
  std::string model = "small";
  bool extras = false;  // with the MTP module and the balance loss
  double seconds = 12;
  int64_t sequence = 512, batch = 4;
  bool f32 = false;  // f32 compute instead of bf16
};
struct TrainBenchResult {
  std::string model;
  bool extras = false, f32 = false;
  int64_t parameters = 0, active = 0;  // active: matmul parameters of a token, head included, embedding look-up not
  int steps = 0;
  double step_s = 0, first_step_s = 0;  // median; the first step, which touches fresh memory
  double tokens_per_s = 0, tera_flops = 0, peak_share = 0;
  double peak_bytes = 0;  // resident, of this process
  double first_loss = 0, last_loss = 0;
  std::string profile;  // where a step's time goes, by scope; empty unless profile_enabled()
};

std::vector<std::string> train_bench_models();
ModelConfig train_bench_config(const std::string& model, bool mtp);
// FLOP of one step: 6 x active matmul parameters x tokens + 3 x causal attention.
double train_bench_flops(const ModelConfig& config, int64_t sequence, int64_t batch);
TrainBenchResult run_train_bench(const TrainBenchOptions& options);

}  // namespace fathom
