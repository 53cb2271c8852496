// GRPO against the answers of another library (fixtures/losses/grpo) and against cases by hand.
#include "posttrain/grpo.h"
#include "base/files.h"
#include "base/json.h"
#include "base/test_fixtures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>

namespace fathom {
namespace {

Json load(const std::string& name) {
  const std::string path = fixtures_folder() + "/losses/grpo/" + name;
  return file_exists(path) ? read_json_file(path) : Json();
}
std::vector<double> numbers(const Json& j) {
  std::vector<double> out;
  if (j.is_null()) return out;
  for (const Json& x : j) out.push_back(x.is_null() ? std::numeric_limits<double>::quiet_NaN() : x.get<double>());
  return out;
}

// A case's settings in our words; false where it needs a switch of a later family member.
bool loss_config(const Json& s, GrpoLossConfig* c) {
  const std::map<std::string, std::string> names = {{"grpo", "seq-mean-token-mean"},
                                                    {"bnpo", "token-mean"},
                                                    {"dapo", "token-mean"},
                                                    {"dr_grpo", "constant"},
                                                    {"luspo", "seq-mean-token-sum"}};
  const auto found = names.find(s.at("loss_type").text());
  if (found == names.end() || s.at("top_entropy_quantile") != 1.0 || !s.at("off_policy_mask_threshold").is_null() ||
      s.at("importance_correction") == true || s.at("entropy_coef") != 0.0)
    return false;
  c->aggregation = found->second;
  c->ratio = s.at("importance_sampling_level").text();
  if (c->ratio != "token" && c->ratio != "sequence") return false;
  const auto number = [&](const char* name) { return s.at(name).get<double>(); };
  c->clip_low = number("epsilon_low"), c->clip_high = number("epsilon_high"), c->beta = number("beta");
  c->clip_max = s.at("delta").is_null() ? 0 : number("delta");
  c->unbiased_kl = s.at("use_bias_correction_kl").get<bool>();
  c->max_length = s.at("max_completion_length").get<int64_t>();
  return true;
}

struct Row {
  std::vector<double> logp, old_logp, ref_logp, advantage;
  std::vector<uint8_t> mask;
};
std::vector<Row> rows_of(const Json& in) {
  std::vector<Row> rows;
  for (size_t i = 0; i < in.at("logp").size(); ++i) {
    Row r;
    r.logp = numbers(in["logp"][i]);
    if (!in["old_logp"].is_null()) r.old_logp = numbers(in["old_logp"][i]);
    if (!in["ref_logp"].is_null()) r.ref_logp = numbers(in["ref_logp"][i]);
    const Json& a = in["advantages"][i];
    r.advantage = a.is_array() ? numbers(a) : std::vector<double>{a.get<double>()};
    for (size_t t = 0; t < r.logp.size(); ++t) {
      const bool tool = !in.contains("tool_mask") || in["tool_mask"].is_null() || in["tool_mask"][i][t].get<double>() != 0;
      r.mask.push_back(in["mask"][i][t].get<double>() != 0 && tool ? 1 : 0);
    }
    rows.push_back(r);
  }
  return rows;
}
GrpoDenominators denominators_of(const std::vector<Row>& rows) {
  GrpoDenominators d;
  for (const Row& r : rows) {
    ++d.sequences;
    for (const uint8_t m : r.mask) d.tokens += m;
  }
  return d;
}
std::vector<double> run(const GrpoLossConfig& c, const GrpoDenominators& d, const Row& r, GrpoSums& sums) {
  std::vector<double> grad(r.logp.size());
  grpo_sequence(c, d, r.advantage, r.logp, r.old_logp, r.ref_logp, r.mask, grad, sums);
  return grad;
}

TEST(GrpoFixtures, LossAndGradient) {
  const Json suite = load("loss.json");
  if (suite.is_null()) GTEST_SKIP() << "fixtures/losses/grpo/loss.json is not there";
  int checked = 0;
  for (const Json& c : suite.at("cases")) {
    GrpoLossConfig config;
    if (!loss_config(c.at("settings"), &config)) continue;
    SCOPED_TRACE(c.at("name").get<std::string>());
    const std::vector<Row> rows = rows_of(c.at("inputs"));
    const GrpoDenominators d = denominators_of(rows);
    GrpoSums sums;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<double> grad = run(config, d, rows[i], sums);
      const std::vector<double> expected = numbers(c["expected"]["grad_logp"][i]);
      for (size_t t = 0; t < grad.size(); ++t) EXPECT_NEAR(grad[t], expected[t], 1e-10) << "row " << i << " token " << t;
    }
    EXPECT_NEAR(sums.loss, c["expected"]["loss"].get<double>(), 1e-10);
    const Json& metrics = c["expected"]["metrics"];
    const double tokens = static_cast<double>(std::max<int64_t>(1, sums.tokens));
    if (metrics.contains("kl") && !metrics["kl"].is_null()) {
      EXPECT_NEAR(sums.kl / tokens, metrics["kl"].get<double>(), 1e-9);
    }
    ++checked;
  }
  EXPECT_GE(checked, 40);
}

TEST(GrpoFixtures, MicroBatchesGiveTheWholeBatchsGradient) {
  const Json suite = load("microbatch.json");
  if (suite.is_null()) GTEST_SKIP() << "fixtures/losses/grpo/microbatch.json is not there";
  int checked = 0;
  for (const Json& c : suite.at("cases")) {
    GrpoLossConfig config;
    if (!loss_config(c.at("settings"), &config)) continue;
    SCOPED_TRACE(c.at("name").get<std::string>());
    const std::vector<Row> rows = rows_of(c.at("inputs"));
    const GrpoDenominators d = denominators_of(rows);
    // Each micro-batch sees its own rows and the step's denominators.
    size_t row = 0;
    for (const Json& size : c["settings"]["micro_batch_rows"]) {
      GrpoSums sums;
      for (int k = 0; k < size.get<int>(); ++k, ++row) {
        const std::vector<double> grad = run(config, d, rows[row], sums),
                                  expected = numbers(c["expected"]["whole_batch_grad_logp"][row]);
        for (size_t t = 0; t < grad.size(); ++t) EXPECT_NEAR(grad[t], expected[t], 1e-12);
      }
    }
    EXPECT_EQ(row, rows.size());
    ++checked;
  }
  EXPECT_GE(checked, 40);
}

TEST(GrpoFixtures, Advantages) {
  const Json suite = load("advantages.json");
  if (suite.is_null()) GTEST_SKIP() << "fixtures/losses/grpo/advantages.json is not there";
  for (const Json& c : suite.at("cases")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const Json& s = c["settings"];
    AdvantageConfig config;
    config.scale = s["scale_rewards"].text();
    config.normalize_each_reward = s["aggregation"] == "normalize_then_sum";
    config.std_kind = s.value("std", std::string()).rfind("population", 0) == 0 ? "population" : "sample";
    config.eps_std = s.value("eps_std", 1e-4);
    std::vector<std::vector<double>> rewards;
    for (const Json& r : c["inputs"]["rewards"]) rewards.push_back(numbers(r));
    const Advantages got = group_advantages(rewards, numbers(s["reward_weights"]), s["group_size"].get<int64_t>(), config);
    const std::vector<double> expected = numbers(c["expected"]["advantages"]);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got.advantage[i], expected[i], 1e-9) << i;
    // TRL looks at the batch's std where that is the divisor; ours always counts groups.
    if (config.scale != "batch" && !config.normalize_each_reward && c["expected"].contains("frac_reward_zero_std")) {
      EXPECT_NEAR(got.frac_reward_zero_std, c["expected"]["frac_reward_zero_std"].get<double>(), 1e-9);
    }
  }
}

TEST(GrpoFixtures, KlAndRewards) {
  const Json suite = load("kl.json");
  if (suite.is_null()) GTEST_SKIP() << "fixtures/losses/grpo/kl.json is not there";
  int checked = 0;
  for (const Json& c : suite.at("cases")) {
    const std::string name = c.at("name").text();
    if (name != "k1" && name != "k2" && name != "k3") continue;
    const std::vector<double> logp = numbers(c["inputs"]["logp"]), ref = numbers(c["inputs"]["ref_logp"]);
    for (size_t i = 0; i < logp.size(); ++i) {
      const KlTerm k = name == "k1" ? kl_k1(logp[i], ref[i]) : name == "k2" ? kl_k2(logp[i], ref[i]) : kl_k3(logp[i], ref[i]);
      const double value = c["expected"]["kl"][i].get<double>(), grad = c["expected"]["grad_logp"][i].get<double>();
      EXPECT_NEAR(k.value, value, 1e-12 * std::max(1.0, std::abs(value))) << name << " " << i;
      EXPECT_NEAR(k.grad, grad, 1e-12 * std::max(1.0, std::abs(grad))) << name << " " << i;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 3);
  const Json rewards = load("rewards.json"), masks = load("masks.json");
  for (const Json& c : rewards.at("cases")) {
    if (c["settings"]["kind"] != "soft_overlong") continue;
    for (size_t i = 0; i < c["inputs"]["lengths"].size(); ++i)
      EXPECT_NEAR(soft_overlong_reward(c["inputs"]["lengths"][i].get<int64_t>(), c["settings"]["max_length"].get<int64_t>(),
                                       c["settings"]["cache"].get<int64_t>()),
                  c["expected"]["reward"][i].get<double>(), 1e-12);
  }
  for (const Json& c : masks.at("cases")) {
    if (c["settings"]["kind"] != "dynamic_sampling") continue;
    for (size_t g = 0; g < c["inputs"]["correct"].size(); ++g)
      EXPECT_EQ(group_has_signal(numbers(c["inputs"]["correct"][g])), c["expected"]["keep"][g].get<bool>());
  }
}

TEST(Grpo, GradientByCentralDifferences) {
  const std::vector<double> logp = {-0.5, -1.2, -0.1}, old_logp = {-0.7, -0.9, -0.15}, ref = {-0.4, -1.5, -0.3};
  for (const char* ratio : {"token", "sequence"})
    for (const char* aggregation : {"seq-mean-token-mean", "token-mean", "constant", "seq-mean-token-sum"})
      for (const double a : {1.3, -0.8}) {
        GrpoLossConfig c;
        c.ratio = ratio, c.aggregation = aggregation, c.beta = 0.1, c.unbiased_kl = true, c.max_length = 7;
        const std::vector<double> advantage = {a};
        const auto loss = [&](std::vector<double> x) {
          GrpoSums sums;
          std::vector<double> grad(3);
          grpo_sequence(c, {4, 9}, advantage, x, old_logp, ref, {}, grad, sums);
          return sums.loss;
        };
        GrpoSums sums;
        std::vector<double> grad(3);
        grpo_sequence(c, {4, 9}, advantage, logp, old_logp, ref, {}, grad, sums);
        for (size_t t = 0; t < 3; ++t) {
          std::vector<double> up = logp, down = logp;
          up[t] += 1e-6, down[t] -= 1e-6;
          EXPECT_NEAR(grad[t], (loss(up) - loss(down)) / 2e-6, 1e-8) << ratio << " " << aggregation << " " << a;
        }
      }
}

TEST(Grpo, ByHand) {
  // Rewards 2 and 3 in a group of two: mean 2.5, sample std sqrt(1/2).
  const Advantages a = group_advantages({{2}, {3}}, std::vector<double>{1}, 2, {});
  EXPECT_NEAR(a.advantage[1], 0.5 / (std::sqrt(0.5) + 1e-4), 1e-12);
  EXPECT_NEAR(a.advantage[0], -a.advantage[1], 1e-12);
  // On-policy: every token's coefficient is -A / (sequences * length).
  GrpoSums sums;
  std::vector<double> grad(2);
  grpo_sequence({}, {2, 5}, std::vector<double>{0.7}, std::vector<double>{-1, -2}, {}, {}, {}, grad, sums);
  EXPECT_DOUBLE_EQ(grad[0], -0.7 / 4);
  EXPECT_DOUBLE_EQ(sums.loss, -0.7 / 2);
  // Clipped: A > 0 and ratio e > 1.2 has no gradient; A < 0 keeps it.
  grpo_sequence({}, {1, 1}, std::vector<double>{1}, std::vector<double>{-1}, std::vector<double>{-2}, {}, {},
                std::span(grad).first(1), sums);
  EXPECT_EQ(grad[0], 0);
  grpo_sequence({}, {1, 1}, std::vector<double>{-1}, std::vector<double>{-1}, std::vector<double>{-2}, {}, {},
                std::span(grad).first(1), sums);
  EXPECT_NEAR(grad[0], std::exp(1.0), 1e-12);
  EXPECT_EQ(sums.clipped_high, 1);
}

TEST(Grpo, Wilson) {
  // R: prop.test(50, 100, correct = FALSE) gives 0.4038, 0.5962; 0 of 10: 0, 0.2775.
  EXPECT_NEAR(wilson_interval(50, 100).low, 0.40383, 1e-5);
  EXPECT_NEAR(wilson_interval(50, 100).high, 0.59617, 1e-5);
  EXPECT_NEAR(wilson_interval(0, 10).high, 0.27753, 1e-5);
  EXPECT_EQ(wilson_interval(0, 10).low, 0);
}

}  // namespace
}  // namespace fathom
