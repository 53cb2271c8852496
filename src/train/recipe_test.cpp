#include "train/recipe.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace fathom {
namespace {

TrainRecipe read(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  TrainRecipe recipe;
  read_config_text(yaml, "recipe.yaml", overrides, [&recipe](ConfigFields& f) { recipe.fields(f); });
  return recipe;
}
constexpr const char* kSmall =
    "run: runs/x\nmodel:\n  model_type: llama\n  hidden_size: 8\ndata:\n  train: [a.txt]\n  context: 10\nschedule:\n  tokens: "
    "100\n";

TEST(Recipe, FieldsOverridesAndTheResolvedText) {
  TrainRecipe recipe = read(kSmall, {"schedule.lr=0.125", "model.q_lora_rank=3", "schedule.mtp_weight=[0, 0.3, 0.67, 0.1]"});
  recipe.validate();
  EXPECT_EQ(recipe.schedule.lr.lr, 0.125);
  EXPECT_EQ(recipe.model.shape.q_lora_rank, 3);
  EXPECT_EQ(recipe.schedule.mtp_weight, (std::vector<double>{0, 0.3, 0.67, 0.1}));
  const std::string resolved = config_to_yaml([&recipe](ConfigFields& f) { recipe.fields(f); });
  TrainRecipe again = read(resolved);
  EXPECT_EQ(config_to_yaml([&again](ConfigFields& f) { again.fields(f); }), resolved);
}

TEST(Recipe, SaysWhatIsWrong) {
  EXPECT_NE(error_of([] { read(std::string(kSmall) + "  lrr: 3\n"); }).find("lrr"), std::string::npos);
  EXPECT_NE(error_of([] { read(kSmall, {"model.path=x"}).validate(); }).find("more than one"), std::string::npos);
  EXPECT_NE(error_of([] { read(kSmall, {"model.hidden_size=0"}).validate(); }).find("model is empty"), std::string::npos);
  EXPECT_NE(error_of([] {
              read(kSmall, {"schedule.schedule=wsd", "schedule.decay_tokens=101"}).validate();
            }).find("exceed"),
            std::string::npos);
}

TEST(Recipe, PlanCoversTheTokens) {
  TrainRecipe recipe = read(kSmall, {"schedule.sequences_per_step=3"});
  const std::vector<PlannedStep> plan = plan_steps(recipe.schedule, recipe.data.context);  // 10 sequences: 3 3 3 1
  ASSERT_EQ(plan.size(), 4u);
  EXPECT_EQ(plan[3].sequences, 1);
  EXPECT_EQ(plan[3].tokens_before, 90);
  EXPECT_EQ(plan[3].tokens_after, 100);
  recipe.schedule.batch_ramp = {0, 1, 0.5, 5};
  const std::vector<PlannedStep> ramp = plan_steps(recipe.schedule, recipe.data.context);  // 1 1 1 1 1 5
  ASSERT_EQ(ramp.size(), 6u);
  EXPECT_EQ(ramp[4].sequences, 1);
  EXPECT_EQ(ramp[5].sequences, 5);
}

}  // namespace
}  // namespace fathom
