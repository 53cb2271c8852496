// 30 AdamW steps against another library: losses, gradient norms and the final weights' statistics, at the tolerances that
// the fixtures state. Every folder with training.json is taken.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/files.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/safetensors.h"
#include "optim/adamw.h"
#include "optim/lr_schedule.h"

namespace fathom {
namespace {

struct Statistics {
  double mean = 0, std = 0, l2 = 0, l2_of_change = 0;
};
Statistics statistics(const Tensor& now, const Tensor& before) {
  const Tensor a = now.to(DType::kF32), b = before.to(DType::kF32);
  const double n = static_cast<double>(a.numel());
  Statistics s;
  double squares = 0, change = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = a.data<float>()[i], d = x - b.data<float>()[i];
    s.mean += x / n, squares += x * x, change += d * d;
  }
  s.l2 = std::sqrt(squares), s.l2_of_change = std::sqrt(change);
  s.std = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  return s;
}

void run(const std::string& folder) {
  const Json spec = read_json_file(folder + "/training.json");
  const SafetensorsFile file = SafetensorsFile::open(folder + "/training.safetensors");
  ASSERT_NE(file.find("tokens"), nullptr);
  const Tensor tokens = file.tensor(*file.find("tokens"));  // [step, row, seq + 1]
  ASSERT_EQ(tokens.rank(), 3);

  Decoder model = load_model(folder, Numerics{}, /*training=*/true);
  model.allocate_grads();
  std::vector<Tensor> before;
  for (const NamedTensor& t : model.named_tensors()) before.push_back(t.value.clone());

  const Json& o = spec.at("optimizer");
  AdamWConfig config;
  const auto number = [&](const char* name) { return o.at(name).get<double>(); };
  config.beta1 = o.at("betas")[0].get<double>(), config.beta2 = o.at("betas")[1].get<double>(), config.eps = number("eps");
  config.weight_decay = number("weight_decay"), config.clip_norm = number("clip_norm");
  AdamW optimizer(model.parameters(), config);
  const int64_t steps = tokens.dim(0), rows = tokens.dim(1), length = tokens.dim(2) - 1, step_tokens = rows * length;
  LrSchedule schedule;
  schedule.lr = number("lr");
  schedule.warmup_tokens = o.at("warmup_steps").get<int64_t>() * step_tokens;

  double rounding = 0;  // how far rounding alone carries the reference
  for (int64_t s = 0; s < steps; ++s)
    rounding = std::max(rounding, std::abs(spec["loss"][static_cast<size_t>(s)].get<double>() -
                                           spec["loss_float64"][static_cast<size_t>(s)].get<double>()));
  double norm_rounding = 0;
  for (int64_t s = 0; s < steps; ++s)
    norm_rounding = std::max(norm_rounding, std::abs(spec["grad_norm"][static_cast<size_t>(s)].get<double>() -
                                                     spec["grad_norm_float64"][static_cast<size_t>(s)].get<double>()));

  const float weight = 1.f / static_cast<float>(step_tokens);
  for (int64_t s = 0; s < steps; ++s) {
    Batch batch;
    std::vector<int32_t> targets;
    const int32_t* ids = tokens.data<int32_t>() + s * rows * (length + 1);
    for (int64_t r = 0; r < rows; ++r, ids += length + 1) {
      batch.add(std::span(ids, static_cast<size_t>(length)));
      targets.insert(targets.end(), ids + 1, ids + length + 1);
    }
    BackwardOptions options;
    options.main_token_weight = weight;
    const BackwardResult result = model.forward_backward(
        batch, targets,
        [weight](int64_t, std::span<const float>, std::span<float> c) { std::fill(c.begin(), c.end(), -weight); }, options);
    double loss = 0;
    for (const float logp : result.logp) loss -= logp;
    loss /= static_cast<double>(step_tokens);
    const double expected = spec["loss"][static_cast<size_t>(s)].get<double>(),
                 tolerance = s < 5 ? 1e-5 * expected : 10 * rounding + 1e-5;
    EXPECT_NEAR(loss, expected, tolerance) << "step " << s;
    const AdamW::Result updated = optimizer.step(schedule.at(s * step_tokens, (s + 1) * step_tokens, steps * step_tokens));
    ASSERT_TRUE(updated.finite);
    const double expected_norm = spec["grad_norm"][static_cast<size_t>(s)].get<double>();
    EXPECT_NEAR(updated.grad_norm, expected_norm, s < 5 ? 1e-4 * expected_norm : 10 * norm_rounding + 1e-4) << "step " << s;
    model.drop_packed();
  }

  const std::vector<NamedTensor> after = model.named_tensors();
  size_t checked = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    if (!spec["final_weights"].contains(after[i].name)) continue;
    const Json& w = spec["final_weights"][after[i].name];
    // |norm(x) - norm(y)| <= norm(x - y), and so for the norm of the change.
    const double tolerance = 10 * w.at("l2_float32_minus_float64").get<double>() + 1e-6;
    const Statistics got = statistics(after[i].value, before[i]);
    EXPECT_NEAR(got.l2, w.at("l2").get<double>(), tolerance) << after[i].name;
    EXPECT_NEAR(got.l2_of_change, w.at("l2_of_change").get<double>(), tolerance) << after[i].name;
    EXPECT_NEAR(got.mean, w.at("mean").get<double>(), tolerance) << after[i].name;
    EXPECT_NEAR(got.std, w.at("std").get<double>(), tolerance) << after[i].name;
    ++checked;
  }
  EXPECT_EQ(checked, spec["final_weights"].size());
}

TEST(TrainingFixtures, ThirtySteps) {
  if (!is_directory(models_folder())) GTEST_SKIP() << models_folder() << " is not there";
  int folders = 0;
  for (const std::string& name : list_directory(models_folder())) {
    const std::string folder = models_folder() + "/" + name;
    if (!file_exists(folder + "/training.json")) continue;
    SCOPED_TRACE(name);
    run(folder);
    ++folders;
  }
  EXPECT_GE(folders, 1) << "no folder with training.json below " << models_folder();
}

}  // namespace
}  // namespace fathom
