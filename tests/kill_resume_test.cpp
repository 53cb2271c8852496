// kill -9 at random moments, some while a checkpoint is being written: the run that was killed ends with the same weights,
// optimizer state, metrics and samples as the one that was not.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/rng.h"
#include "program.h"
#include "runs/run_store.h"

namespace fathom {
namespace {

constexpr const char* kModel = R"(
model:
  model_type: deepseek_v3
  hidden_size: 32
  intermediate_size: 64
  num_hidden_layers: 2
  num_attention_heads: 2
  kv_lora_rank: 16
  qk_nope_head_dim: 8
  qk_rope_head_dim: 8
  v_head_dim: 8
  n_routed_experts: 4
  n_shared_experts: 1
  num_experts_per_tok: 2
  moe_intermediate_size: 16
  first_k_dense_replace: 1
  topk_method: noaux_tc
  scoring_func: sigmoid
  num_nextn_predict_layers: 1
  max_position_embeddings: 256
)";

// Short conversations: sums.
std::string conversations() {
  std::string lines;
  Rng rng(5, RngStream::kTest);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t a = rng.next_below(30), b = rng.next_below(30);
    lines += "{\"prompt\": \"Compute " + std::to_string(a) + "+" + std::to_string(b) + "\", \"completion\": \"<think>" +
             std::to_string(a) + "</think><answer>" + std::to_string(a + b) + "</answer>\"}\n";
  }
  return lines;
}

// Every file below `folder`, by name.
std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const std::string& name : list_directory(folder)) {
    const std::string path = folder + "/" + name;
    if (is_directory(path)) {
      for (const auto& [inner, bytes] : files_of(path)) out[name + "/" + inner] = bytes;
    } else {
      out[name] = read_file(path);
    }
  }
  return out;
}

void expect_same_files(const std::string& a, const std::string& b) {
  const auto left = files_of(a), right = files_of(b);
  ASSERT_FALSE(left.empty());
  for (const auto& [name, bytes] : left) {
    ASSERT_TRUE(right.contains(name)) << b << " lacks " << name;
    EXPECT_TRUE(bytes == right.at(name)) << name << " differs";
  }
  EXPECT_EQ(left.size(), right.size());
}

void expect_same_runs(const std::string& whole, const std::string& killed) {
  expect_same_files(whole + "/model", killed + "/model");
  // The last checkpoint: weights and optimizer state.
  const auto newest = [](const std::string& run) {
    return run + "/checkpoints/" + list_directory(run + "/checkpoints").back();
  };
  expect_same_files(newest(whole), newest(killed));
  const RunStore a = RunStore::open_read_only(whole + "/run.db"), b = RunStore::open_read_only(killed + "/run.db");
  ASSERT_EQ(a.metric_names(), b.metric_names());
  int compared = 0;
  for (const std::string& name : a.metric_names()) {
    const auto x = a.metric(name), y = b.metric(name);
    ASSERT_EQ(x.size(), y.size()) << name;
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x[i].step, y[i].step) << name;
      if (name.rfind("time/", 0) == 0) continue;  // measured, not computed
      EXPECT_EQ(x[i].value, y[i].value) << name << " at step " << x[i].step;
    }
    ++compared;
  }
  EXPECT_GE(compared, 5);
  const auto x = a.samples(-1), y = b.samples(-1);
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i].step, y[i].step);
    EXPECT_EQ(x[i].prompt, y[i].prompt);
    EXPECT_EQ(x[i].completion, y[i].completion);
    EXPECT_EQ(x[i].reward, y[i].reward);
  }
}

// Temporary folders of checkpoints that are being written, or were when their process was killed.
std::set<std::string> temporaries(const std::string& run) {
  std::set<std::string> names;
  if (!is_directory(run + "/checkpoints")) return names;
  for (const std::string& name : list_directory(run + "/checkpoints"))
    if (name.find(".tmp-") != std::string::npos) names.insert(name);
  return names;
}
bool has_new(const std::set<std::string>& now, const std::set<std::string>& before) {
  return std::any_of(now.begin(), now.end(), [&before](const std::string& name) { return !before.contains(name); });
}

struct Kills {
  int all = 0, in_checkpoint = 0;
};
int64_t newest_checkpoint(const std::string& run) {
  if (!is_directory(run + "/checkpoints")) return 0;
  int64_t newest = 0;
  for (const std::string& name : list_directory(run + "/checkpoints"))
    if (name.rfind("step-", 0) == 0) newest = std::max<int64_t>(newest, std::stoll(name.substr(5)));
  return newest;
}
// Runs the recipe into `run`, killing it `wanted` times: in the first moments, while a checkpoint is being written, or a
// random time after one was; then lets it finish. The moments follow what is seen, not the clock, so that a busy machine
// changes nothing.
Kills run_with_kills(const TestFolder& folder, const std::vector<std::string>& arguments, const std::string& run, int wanted,
                     uint64_t seed) {
  Kills kills;
  Rng rng(seed, RngStream::kTest);
  for (int attempt = 0; kills.all < wanted; ++attempt) {
    const std::set<std::string> before = temporaries(run);  // left behind by earlier kills: no sign of a write
    const int64_t step = newest_checkpoint(run);
    Program program(folder.path(), arguments);
    if (attempt % 5 == 0) {
      ::usleep(static_cast<useconds_t>(rng.next_below(60'000)));
    } else if (attempt % 2 == 1) {
      while (program.running() && !has_new(temporaries(run), before)) ::usleep(50);
      ::usleep(static_cast<useconds_t>(rng.next_below(3'000)));
    } else {
      while (program.running() && newest_checkpoint(run) <= step) ::usleep(300);
      ::usleep(static_cast<useconds_t>(rng.next_below(30'000)));
    }
    if (!program.running()) {
      EXPECT_EQ(program.wait(), 0) << program.err();
      break;
    }
    program.send(SIGKILL);
    EXPECT_EQ(program.wait(), 128 + SIGKILL);
    ++kills.all;
    kills.in_checkpoint += has_new(temporaries(run), before) ? 1 : 0;
  }
  Program last(folder.path(), arguments);
  EXPECT_EQ(last.wait(), 0) << last.err();
  return kills;
}

std::string train_recipe(const TestFolder& folder) {
  write_file_atomic(folder / "data.jsonl", conversations());
  const std::string recipe = std::string("stage: sft\nrun: unset\nseed: 3\n") + kModel +
                             "tokenizer:\n  chat: true\n  vocab_size: 280\n" + "data:\n  train: [" + (folder / "data.jsonl") +
                             "]\n  held_out: 0.1\n  context: 48\n" +
                             "schedule:\n  tokens: 76800\n  sequences_per_step: 8\n  micro_batch_sequences: 4\n  lr: 1e-2\n  "
                             "schedule: cosine\n  warmup_tokens: 2560\n" +
                             "checkpoints:\n  checkpoint_steps: 3\n  checkpoint_seconds: 0\n  eval_steps: 50\n";
  write_file_atomic(folder / "recipe.yaml", recipe);
  return folder / "recipe.yaml";
}

TEST(KillResume, Training) {
  const TestFolder folder;
  const std::string recipe = train_recipe(folder);
  Program whole(folder.path(), {"train", recipe, "--set", "run=" + (folder / "whole")});
  ASSERT_EQ(whole.wait(), 0) << whole.err();
  const Kills kills = run_with_kills(folder, {"train", recipe, "--resume", "auto", "--set", "run=" + (folder / "killed")},
                                     folder / "killed", 22, 11);
  EXPECT_GE(kills.all, 20);
  EXPECT_GE(kills.in_checkpoint, 5);
  std::printf("%d kills, %d while a checkpoint was being written\n", kills.all, kills.in_checkpoint);
  expect_same_runs(folder / "whole", folder / "killed");

  // Ctrl-C finishes the step, writes its checkpoint and says how to go on.
  {
    Program stopped(folder.path(), {"train", recipe, "--resume", "auto", "--set", "run=" + (folder / "stopped")});
    while (stopped.running() && newest_checkpoint(folder / "stopped") == 0) ::usleep(500);
    stopped.send(SIGINT);
    EXPECT_EQ(stopped.wait(), 1);
    EXPECT_NE(stopped.err().find("--resume auto"), std::string::npos) << stopped.err();
  }
  Program rest(folder.path(), {"train", recipe, "--resume", "auto", "--set", "run=" + (folder / "stopped")});
  EXPECT_EQ(rest.wait(), 0) << rest.err();
  expect_same_runs(folder / "whole", folder / "stopped");
}

TEST(KillResume, Reinforcement) {
  const TestFolder folder;
  const std::string recipe = train_recipe(folder);
  // A start model that has learnt little more than to end its answers.
  Program start(folder.path(), {"train", recipe, "--set", "run=" + (folder / "start"), "--set", "checkpoints.model_dtype=f32"});
  ASSERT_EQ(start.wait(), 0) << start.err();
  write_file_atomic(folder / "grpo.yaml",
                    "stage: grpo\nrun: unset\nseed: 4\nmodel:\n  path: " + (folder / "start/model") +
                        "\ntask:\n  name: arithmetic\nschedule:\n  lr: 1e-3\n  bias_speed: [0, 0.001]\n" +
                        "rollout:\n  steps: 30\n  prompts_per_step: 4\n  group_size: 4\n  max_tokens: 32\n  cache_mib: 8\n" +
                        "reward:\n  soft_overlong: 24\n" +
                        "grpo:\n  updates_per_rollout: 2\n  micro_batch_tokens: 128\n  loss:\n    beta: 0.01\n" +
                        "evaluation:\n  problems: 8\n  every: 5\ncheckpoints:\n  checkpoint_steps: 1\n  checkpoint_seconds: "
                        "0\n  model_dtype: f32\n");
  Program whole(folder.path(), {"train", folder / "grpo.yaml", "--set", "run=" + (folder / "whole")});
  ASSERT_EQ(whole.wait(), 0) << whole.err();
  const Kills kills =
      run_with_kills(folder, {"train", folder / "grpo.yaml", "--resume", "auto", "--set", "run=" + (folder / "killed")},
                     folder / "killed", 20, 12);
  EXPECT_EQ(kills.all, 20);
  EXPECT_GE(kills.in_checkpoint, 2);
  std::printf("%d kills, %d while a checkpoint was being written\n", kills.all, kills.in_checkpoint);
  expect_same_runs(folder / "whole", folder / "killed");
  const RunStore store = RunStore::open_read_only(folder / "whole/run.db");
  for (const RunStore::Point& p : store.metric("rollout_logp_mismatch")) EXPECT_EQ(p.value, 0) << "step " << p.step;
  EXPECT_EQ(store.metric("rollout_logp_mismatch").size(), 30u);
  // Something was learnt from: rewards differed in some group of most steps.
  int with_signal = 0;
  for (const RunStore::Point& p : store.metric("reward/frac_reward_zero_std")) with_signal += p.value < 1 ? 1 : 0;
  EXPECT_GE(with_signal, 6);
}

}  // namespace
}  // namespace fathom
