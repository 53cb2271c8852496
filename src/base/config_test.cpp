#include "base/config.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/rng.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

struct Optimizer {
  double lr = 3e-4, beta = 0.1;
  std::vector<double> milestones = {0.5, 0.9};
  void fields(ConfigFields& f) {
    f.field("lr", lr, "peak learning rate", 0, 10);
    f.field("beta", beta, "a | b");
    f.field("milestones", milestones, "where it drops");
  }
};
struct Recipe {
  std::string stage = "pretrain", note = "no: \"plain\"\ttext\n";
  int64_t steps = 100, seed = -1;
  bool resume = true;
  std::vector<std::string> files = {"a b.txt", "c.txt"};
  Optimizer optimizer;
  void fields(ConfigFields& f) {
    f.field("stage", stage, "what is trained", {"pretrain", "sft", "grpo"});
    f.field("note", note, "free text");
    f.field("steps", steps, "optimizer steps", 1, 1000000);
    f.field("seed", seed, "of the run");
    f.field("resume", resume, "go on from the last checkpoint");
    f.field("files", files, "texts");
    f.section("optimizer", optimizer, "AdamW");
  }
};
ConfigBody body_of(Recipe& recipe) {
  return [&recipe](ConfigFields& f) { recipe.fields(f); };
}
std::string refused(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  Recipe recipe;
  return error_of([&] { read_config_text(yaml, "r.yaml", overrides, body_of(recipe)); });
}
void expect_refused(const std::string& yaml, const std::string& start, const std::string& part = "") {
  const std::string error = refused(yaml);
  EXPECT_EQ(error.find("[config] r.yaml" + start), 0u) << yaml << "\n-> " << error;
  EXPECT_NE(error.find(part), std::string::npos) << yaml << "\n-> " << error;
}

TEST(Config, ReadsFieldsSectionsAndOverrides) {
  Recipe recipe;
  read_config_text("stage: sft\nsteps: 2e3\nresume: false\nfiles: one.txt\noptimizer:\n  lr: 1e-3\n  milestones: [1, 2.5]\n",
                   "r.yaml", {"optimizer.lr=0.5", "steps=7", "files=[x, y]", "note=a=b", "optimizer.lr=0.25"}, body_of(recipe));
  EXPECT_EQ(recipe.stage, "sft");
  EXPECT_EQ(recipe.steps, 7);
  EXPECT_FALSE(recipe.resume);
  EXPECT_EQ(recipe.files, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(recipe.optimizer.lr, 0.25);
  EXPECT_EQ(recipe.optimizer.milestones, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(recipe.note, "a=b");
  Recipe untouched;
  read_config_text("", "r.yaml", {}, body_of(untouched));
  read_config_text("# nothing\noptimizer:\n", "r.yaml", {}, body_of(untouched));
  EXPECT_EQ(config_to_yaml(body_of(untouched)), [] {
    Recipe r;
    return config_to_yaml(body_of(r));
  }());
}

TEST(Config, ErrorsNameFileLineFieldAndWhatIsAllowed) {
  expect_refused("steps: 5\noptimizer:\n  lr: abc\n",
                 ":3: optimizer.lr: 'abc' is not a number; allowed: a number from 0 to 10");
  expect_refused("steps: 0\n", ":1: steps: '0' is out of range; allowed: a whole number from 1 to 1000000");
  expect_refused("steps: 1.5\n", ":1: steps: '1.5' is not a whole number");
  expect_refused("steps: 99999999999999999999\n", ":1: steps: '99999999999999999999' is not a whole number");
  expect_refused("steps: \"5\"\n", ":1: steps: '5' is a text in quotes");
  expect_refused("steps: [1]\n", ":1: steps: is a list");
  expect_refused("steps:\n", ":1: steps: has no value");
  expect_refused("\nresume: yes\n", ":2: resume: 'yes' is neither true nor false; allowed: true, false");
  expect_refused("stage: rl\n", ":1: stage: 'rl' is not known; allowed: pretrain, sft, grpo");
  expect_refused("optimizer:\n  lr: .nan\n", ":2: optimizer.lr: '.nan' is not a number");
  expect_refused("optimizer:\n  lr: 11\n", ":2: optimizer.lr: '11' is out of range");
  expect_refused("optimizer:\n  lr: 0x1p3\n", ":2: optimizer.lr: '0x1p3' is not a number");
  expect_refused("optimizer:\n  milestones: [1, x]\n", ":2: optimizer.milestones: 'x' is not a number");
  expect_refused("optimizer: 5\n", ":1: optimizer: a section");
  expect_refused("- a\n- b\n", ":1: a section");
  expect_refused("steps: 1\n\nsteps: 2\n", ":3: steps: the key occurs twice; first in line 1");
  expect_refused("optimizer:\n  lr: 1\n  lr: 2\n", ":3: optimizer.lr: the key occurs twice");
  expect_refused("steps: 1\noptimizer:\n  lrr: 2\n", ":3: optimizer.lrr: unknown key; did you mean 'lr'?");
  expect_refused("zebra: 2\n", ":1: zebra: unknown key; allowed: stage, note");
  expect_refused("steps: [1\n", ":", "not YAML");
  expect_refused("a: 1\n---\nb: 2\n", ": something follows the first YAML document");
  expect_refused(",", ": something follows the first YAML document");
  expect_refused("a: 1\nnote: \xff\n", ":2: not UTF-8");
  expect_refused(std::string("steps: 1\nnote: a\0_\n", 18), ":2: holds the control character 0");
  expect_refused("steps: 1\nnote: a\4b\n", ":2: holds the control character 4");
  expect_refused("note: \"a\\_b\"\n", ":1: note: has an escape for a character above U+007F");
  expect_refused("? [a, b]\n: 1\n", ":1", "a key must be a name");
  expect_refused("steps: &a [*a]\n", ":1");
  expect_refused(std::string(100000, '['), ":", "not YAML");
}

TEST(Config, OverrideErrorsNameTheOverride) {
  EXPECT_EQ(refused("", {"optimizer.lr=fast"})
                .find("[config] --set optimizer.lr=fast: optimizer.lr: 'fast' is not a number; allowed"),
            0u);
  EXPECT_NE(refused("", {"optimiser.lr=1"}).find("did you mean 'optimizer.lr'?"), std::string::npos);
  EXPECT_NE(refused("", {"optimizer=1"}).find("is a section"), std::string::npos);
  EXPECT_NE(refused("", {"steps"}).find("give SECTION.FIELD=VALUE"), std::string::npos);
  EXPECT_NE(refused("", {"steps="}).find("has no value"), std::string::npos);
  Recipe recipe;
  EXPECT_NE(error_of([&] { read_config("/nonexistent/r.yaml", {}, body_of(recipe)); }).find("/nonexistent/r.yaml"),
            std::string::npos);
}

TEST(Config, YamlRoundTripsEveryBit) {
  flush_denormals();  // as the program runs: denormal values must survive all the same
  Rng rng(1, RngStream::kTest);
  for (int i = 0; i < 2000; ++i) {
    Recipe out;
    out.optimizer.beta = std::bit_cast<double>(rng.next_u64());
    if (!(std::fabs(out.optimizer.beta) <= 1e300)) continue;
    out.seed = static_cast<int64_t>(rng.next_u64());
    out.optimizer.milestones = {out.optimizer.beta / 3, -0.0};
    out.files = {"true", "1e5", "", "a: b # c", "\xc3\xa9\x01\x7f", "- x", "~", "'q'", "\\"};
    Recipe in;
    read_config_text(config_to_yaml(body_of(out)), "again", {}, body_of(in));
    ASSERT_EQ(std::bit_cast<uint64_t>(in.optimizer.beta), std::bit_cast<uint64_t>(out.optimizer.beta));
    ASSERT_EQ(std::bit_cast<uint64_t>(in.optimizer.milestones[0]), std::bit_cast<uint64_t>(out.optimizer.milestones[0]));
    ASSERT_TRUE(std::signbit(in.optimizer.milestones[1]));
    ASSERT_EQ(in.seed, out.seed);
    ASSERT_EQ(in.files, out.files);
    ASSERT_EQ(in.note, out.note);
  }
}

TEST(Config, ReferenceListsEveryField) {
  Recipe recipe;
  const std::string text = config_reference(body_of(recipe));
  for (const char* part :
       {"| `stage` | `pretrain` | pretrain, sft, grpo | what is trained |", "| **`optimizer`** | | | AdamW |",
        "| `optimizer.lr` | `0.0003` | number from 0 to 10 | peak learning rate |", "a \\| b",
        "| `steps` | `100` | whole number from 1 to 1000000 | optimizer steps |"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

}  // namespace
}  // namespace fathom
