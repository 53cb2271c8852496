// What a user gets to read when a recipe or its data are wrong, and that nothing is lost.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "program.h"
#include "runs/run_store.h"

namespace fathom {
namespace {

class TrainErrors : public ::testing::Test {
 protected:
  std::string write_recipe(const std::string& extra_model, const std::string& data, const std::string& schedule,
                           const std::string& rest = "") {
    const std::string text = "stage: pretrain\nrun: " + (folder_ / "run") +
                             "\nmodel:\n  model_type: llama\n  hidden_size: 16\n  intermediate_size: 32\n" +
                             "  num_hidden_layers: 1\n  num_attention_heads: 2\n" + extra_model + "data:\n" + data +
                             "  context: 16\nschedule:\n  tokens: 2048\n" + "  sequences_per_step: 4\n" + schedule + rest;
    write_file_atomic(folder_ / "recipe.yaml", text);
    return folder_ / "recipe.yaml";
  }
  std::string good_data() {
    std::string text;
    for (int i = 0; i < 200; ++i) text += "line " + std::to_string(i * i) + "\n";
    write_file_atomic(folder_ / "data.txt", text);
    return "  train: [" + (folder_ / "data.txt") + "]\n";
  }
  // Exit code and standard error.
  std::pair<int, std::string> run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "train");
    Program program(folder_.path(), arguments);
    const int code = program.wait();
    return {code, program.err()};
  }
  void expect_error(const std::vector<std::string>& arguments, int code, const std::vector<std::string>& words) {
    const auto [got, text] = run(arguments);
    EXPECT_EQ(got, code) << text;
    for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << "no '" << word << "' in: " << text;
  }
  TestFolder folder_;
};

TEST_F(TrainErrors, RecipeFields) {
  const std::string data = good_data();
  expect_error({folder_ / "absent.yaml"}, 2, {"absent.yaml"});
  expect_error({write_recipe("  hidden_sise: 3\n", data, "")}, 2, {"recipe.yaml:", "hidden_sise"});
  expect_error({write_recipe("", data, "  lr: fast\n")}, 2, {"recipe.yaml:", "lr", "fast"});
  expect_error({write_recipe("", data, "  lr: 11\n")}, 2, {"recipe.yaml:", "lr", "11"});
  expect_error({write_recipe("", data, "  schedule: cosinus\n")}, 2, {"schedule", "cosinus", "cosine"});
  expect_error({write_recipe("", data, ""), "--set", "schedule.lrr=1"}, 2, {"schedule.lrr"});
  expect_error({write_recipe("", data, "", "rollout:\n  steps: 3\n")}, 2, {"rollout", "grpo"});
  expect_error({write_recipe("", data, "  mtp_weight: [0.5, 1]\n")}, 2, {"mtp_weight", "0.5"});
  expect_error({write_recipe("  model_type: deepseek_v3\n", data, "")}, 2, {"model_type"});
}

TEST_F(TrainErrors, Data) {
  const auto data = [this](const std::string& name) { return "  train: [" + (folder_ / name) + "]\n"; };
  expect_error({write_recipe("", data("nothing.txt"), "")}, 2, {"nothing.txt", "No such file"});
  write_file_atomic(folder_ / "empty.txt", "");
  expect_error({write_recipe("", data("empty.txt"), "")}, 2, {"empty.txt", "empty"});
  write_file_atomic(folder_ / "bytes.txt", "good\nabc\xff\xfe");
  expect_error({write_recipe("", data("bytes.txt"), "")}, 2, {"bytes.txt:2", "not UTF-8", "byte 4"});
  write_file_atomic(folder_ / "lines.jsonl", "{\"text\": \"one\"}\n{\"txt\": \"two\"}\n");
  expect_error({write_recipe("", data("lines.jsonl"), "")}, 2, {"lines.jsonl:2", "txt"});
  // None of these began a run: with good data the same folder serves.
  EXPECT_EQ(run({write_recipe("", good_data(), "")}).first, 0);
}

TEST_F(TrainErrors, NotFiniteLossStopsAndKeepsTheLastCheckpoint) {
  const std::string recipe =
      write_recipe("", good_data(), "  lr: 10\n  warmup_tokens: 0\n",
                   "optimizer:\n  clip_norm: 0\n  weight_decay: 1\n  eps: 0\ncheckpoints:\n  checkpoint_steps: 1\n");
  const auto [code, text] = run({recipe, "--set", "model.rms_norm_eps=0"});
  ASSERT_EQ(code, 1) << text;
  EXPECT_NE(text.find("step "), std::string::npos) << text;
  EXPECT_TRUE(text.find("nan") != std::string::npos || text.find("not finite") != std::string::npos ||
              text.find("infinite") != std::string::npos)
      << text;
  EXPECT_NE(text.find("last good state"), std::string::npos) << text;
  const RunStore store = RunStore::open_read_only(folder_ / "run/run.db");
  const auto events = store.events();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().kind, "not_finite");
  const auto losses = store.metric("loss");
  ASSERT_FALSE(losses.empty());
  // The checkpoint of the step before stands.
  const std::vector<std::string> checkpoints = list_directory(folder_ / "run/checkpoints");
  ASSERT_FALSE(checkpoints.empty());
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(losses.back().step));
  EXPECT_EQ(checkpoints.back(), name);
  EXPECT_EQ(events.back().step, losses.back().step + 1);

  // Going on with other numerics would give other bits: an error, unless allowed.
  const bool portable = store.info().at("numerics").rfind("portable", 0) == 0;
  if (portable) GTEST_SKIP() << "this machine has the portable rung alone";
  ::setenv("FATHOM_ISA", "portable", 1);
  expect_error({recipe, "--set", "model.rms_norm_eps=0", "--resume", "auto"}, 2, {"portable", "--allow-rung-change"});
  const auto [again, said] = run({recipe, "--set", "model.rms_norm_eps=0", "--resume", "auto", "--allow-rung-change"});
  EXPECT_EQ(again, 1);  // the same loss that is not finite
  EXPECT_EQ(said.find("give --allow-rung-change"), std::string::npos) << said;
  ::unsetenv("FATHOM_ISA");
}

TEST_F(TrainErrors, RunFolders) {
  const std::string recipe = write_recipe("", good_data(), "");
  const auto [code, text] = run({recipe});
  ASSERT_EQ(code, 0) << text;
  expect_error({recipe}, 2, {"holds a run already", "--resume auto"});
  expect_error({recipe, "--resume", "auto", "--set", "schedule.lr=1e-3"}, 2, {"recipe differs", "lr"});
  EXPECT_EQ(run({recipe, "--resume", "auto"}).first, 0);  // finished: its result again
}

TEST_F(TrainErrors, NoPermission) {
  write_file_atomic(folder_ / "file", "x");
  const std::string recipe = write_recipe("", good_data(), "");
  expect_error({recipe, "--set", "run=" + (folder_ / "file/run")}, 1, {"file/run"});

  make_directories(folder_ / "locked");
  ASSERT_EQ(::chmod((folder_ / "locked").c_str(), 0555), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  Program program(folder_.path(), {"train", recipe, "--set", "run=" + (folder_ / "locked/run")}, become_nobody);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_NE(program.err().find("locked/run"), std::string::npos) << program.err();
  EXPECT_NE(program.err().find("permission denied"), std::string::npos) << program.err();
}

// The disk is full when a checkpoint is to be written (its vocabulary makes it larger than all other files): an error, the
// state before stands, and going on with room again gives the bits of a run that never stopped.
TEST_F(TrainErrors, FullDiskLosesNothing) {
  const std::string recipe =
      write_recipe("  vocab_size: 8192\n", good_data(), "", "checkpoints:\n  checkpoint_steps: 8\n  checkpoint_seconds: 0\n");
  ASSERT_EQ(run({recipe, "--set", "schedule.tokens=16384", "--set", "run=" + (folder_ / "whole")}).first, 0);

  const std::vector<std::string> resume = {"train", recipe, "--resume", "auto", "--set", "schedule.tokens=16384"};
  const std::string checkpoints = folder_ / "run/checkpoints";
  const auto steps = [&checkpoints] {
    std::vector<std::string> names;
    if (is_directory(checkpoints))
      for (const std::string& name : list_directory(checkpoints))
        if (name.rfind("step-", 0) == 0) names.push_back(name);
    return names;
  };
  {
    Program first(folder_.path(), resume);
    while (first.running() && steps().empty()) ::usleep(1000);
    first.send(SIGINT);  // finishes the step and writes a checkpoint
    first.wait();
  }
  ASSERT_FALSE(steps().empty());
  const std::string before = steps().back();
  Program full(folder_.path(), resume, file_size_limit(256 << 10));
  EXPECT_EQ(full.wait(), 1);
  EXPECT_NE(full.err().find(checkpoints), std::string::npos) << full.err();
  EXPECT_NE(full.err().find("the file would be larger"), std::string::npos) << full.err();
  ASSERT_FALSE(steps().empty());
  EXPECT_EQ(steps().back(), before);

  const auto [code, text] = run({recipe, "--resume", "auto", "--set", "schedule.tokens=16384"});
  ASSERT_EQ(code, 0) << text;
  for (const std::string& name : list_directory(folder_ / "whole/model"))
    EXPECT_TRUE(read_file(folder_ / ("whole/model/" + name)) == read_file(folder_ / ("run/model/" + name))) << name;
}

}  // namespace
}  // namespace fathom
