#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/log.h"
#include "base/rng.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"

namespace fathom {
namespace {

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    set_log_quiet(true);
    set_num_threads(1);
    std::string text;
    Rng rng(5, RngStream::kTest);
    for (int i = 0; i < 1500; ++i) {
      const uint64_t a = rng.next_below(20), b = rng.next_below(20);
      text += std::to_string(a) + "+" + std::to_string(b) + "=" + std::to_string(a + b) + "\n";
    }
    write_file_atomic(folder_ / "data.txt", text);
  }
  TrainRecipe recipe(const std::string& run) {
    TrainRecipe r;
    ModelConfig& c = r.model.shape;
    c.model_type = "deepseek_v3", c.topk_method = "noaux_tc", c.scoring_func = "sigmoid";
    c.hidden_size = 32, c.intermediate_size = 64, c.num_hidden_layers = 2, c.num_attention_heads = 2,
    c.max_position_embeddings = 64;
    c.kv_lora_rank = 16, c.qk_nope_head_dim = 8, c.qk_rope_head_dim = 8, c.v_head_dim = 8;
    c.n_routed_experts = 4, c.n_shared_experts = 1, c.num_experts_per_tok = 2, c.moe_intermediate_size = 16,
    c.first_k_dense_replace = 1;
    c.num_nextn_predict_layers = 1;
    r.run = folder_ / run;
    r.data.train = {folder_ / "data.txt"};
    r.data.held_out = 0.1;
    r.data.context = 32;
    r.schedule.tokens = 32 * 8 * 60;
    r.schedule.sequences_per_step = 8;
    r.schedule.lr.lr = 5e-3;
    r.checkpoints.checkpoint_seconds = 0;
    r.checkpoints.model_dtype = "f32";
    return r;
  }
  TrainResult run(TrainRecipe r) {
    return train(r, config_to_yaml([&r](ConfigFields& f) { r.fields(f); }), {});
  }
  std::vector<double> metric(const std::string& run, const std::string& name) {
    std::vector<double> out;
    for (const RunStore::Point& p : RunStore::open_read_only((folder_ / run) + "/run.db").metric(name)) out.push_back(p.value);
    return out;
  }
  TestFolder folder_;
};

TEST_F(TrainerTest, LearnsAndLeavesAModel) {
  const TrainResult r = run(recipe("a"));
  EXPECT_EQ(r.steps, 60);
  EXPECT_EQ(r.tokens, 32 * 8 * 60);
  const std::vector<double> loss = metric("a", "loss");
  ASSERT_EQ(loss.size(), 60u);
  EXPECT_NEAR(loss.front(), std::log(256.0), 0.3);  // knows nothing: uniform over the bytes
  EXPECT_LT(r.validation.nats_per_token, 2.2);
  EXPECT_EQ(r.validation.tokens, r.validation.bytes);
  EXPECT_EQ(metric("a", "val_loss_per_byte").back(), r.validation.nats_per_byte);
  EXPECT_LT(metric("a", "mtp_loss").back(), metric("a", "mtp_loss").front());
  // Every expert has its share; the router's bias has moved by whole steps of the speed.
  double share = 0;
  for (int e = 0; e < 4; ++e) share += metric("a", "expert_share/model.layers.1/" + std::to_string(e)).back();
  EXPECT_NEAR(share, 1, 1e-12);
  Decoder model = load_model(r.model_directory, Numerics{}, /*training=*/true);
  int biases = 0;
  for (Parameter* p : model.parameters()) {
    if (p->trainable) continue;
    ++biases;
    float moved = 0;
    for (int64_t i = 0; i < p->value.numel(); ++i) {
      const float steps = p->value.data<float>()[i] / 0.001f;
      EXPECT_NEAR(steps, std::round(steps), 1e-2);
      moved += std::abs(steps);
    }
    EXPECT_GT(moved, 0) << p->name;
  }
  EXPECT_EQ(biases, 2);  // the MoE layer's and the MTP module's
}

TEST_F(TrainerTest, MicroBatchesDoNotChangeTheMeaning) {
  run(recipe("whole"));
  TrainRecipe r = recipe("parts");
  r.schedule.micro_batch_sequences = 3;  // 3 + 3 + 2
  run(r);
  const std::vector<double> a = metric("whole", "loss"), b = metric("parts", "loss"), g = metric("whole", "grad_norm"),
                            h = metric("parts", "grad_norm");
  EXPECT_NEAR(a[0], b[0], 1e-6);
  EXPECT_NEAR(g[0], h[0], 1e-5 * g[0]);  // only the order of additions differs
  EXPECT_NEAR(a.back(), b.back(), 0.05);
}

TEST_F(TrainerTest, ThreadsDoNotChangeABit) {
  TrainRecipe one = recipe("one"), two = recipe("two");
  one.schedule.tokens = two.schedule.tokens = 32 * 8 * 8;
  run(one);
  set_num_threads(2);
  run(two);
  set_num_threads(1);
  EXPECT_EQ(metric("one", "loss"), metric("two", "loss"));
  EXPECT_EQ(metric("one", "grad_norm"), metric("two", "grad_norm"));
  EXPECT_TRUE(read_file((folder_ / "one") + "/model/model.safetensors") ==
              read_file((folder_ / "two") + "/model/model.safetensors"));
}

TEST_F(TrainerTest, FinishedRunGivesItsResultAgain) {
  TrainRecipe r = recipe("a");
  const TrainResult first = run(r);
  const TrainResult again = train(r, config_to_yaml([&r](ConfigFields& f) { r.fields(f); }), {RunFolder::Resume::kAuto, false});
  EXPECT_TRUE(again.reused);
  EXPECT_EQ(again.validation.nats_per_token, first.validation.nats_per_token);
  EXPECT_NE(error_of([&] { run(r); }).find("holds a run already"), std::string::npos);
}

}  // namespace
}  // namespace fathom
