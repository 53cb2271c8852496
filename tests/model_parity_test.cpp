// Parity with transformers on every folder of $FATHOM_FIXTURES/models (README there: what is compared, and the tolerances).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "base/test_fixtures.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/safetensors.h"
#include "model/decoder.h"
#include "optim/adamw.h"

namespace fathom {
namespace {

std::vector<std::string> folders() {
  std::vector<std::string> names;
  if (std::filesystem::is_directory(models_folder()))
    for (const auto& entry : std::filesystem::directory_iterator(models_folder()))
      if (std::filesystem::exists(entry.path() / "config.json")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  if (names.empty()) names.push_back("none");  // one test that says so
  return names;
}

struct Difference {
  double max = 0, rms = 0, relative_l2 = 0, largest = 0;
};
Difference compare(const Tensor& ours, const Tensor& reference) {
  CHECK_EQ(ours.numel(), reference.numel());
  Difference d;
  double square = 0, size = 0;
  const int64_t rows = ours.rank() == 1 ? 1 : ours.rows(), width = ours.numel() / std::max<int64_t>(1, rows);
  const float* b = reference.data<float>();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i, ++b) {
      const double a = ours.rank() == 1 ? ours.data<float>()[i] : ours.row<float>(r)[i], difference = a - *b;
      d.max = std::max(d.max, std::isfinite(difference) ? std::abs(difference) : INFINITY);
      d.largest = std::max(d.largest, std::abs(static_cast<double>(*b)));
      square += difference * difference;
      size += static_cast<double>(*b) * *b;
    }
  d.rms = std::sqrt(square / static_cast<double>(ours.numel()));
  d.relative_l2 = size > 0 ? std::sqrt(square / size) : square > 0 ? INFINITY : 0;
  return d;
}

double mean_kl(const Tensor& p_logits, const Tensor& q_logits) {
  const int64_t vocab = p_logits.dim(1);
  const auto log_sum = [vocab](const float* x) {
    const double top = *std::max_element(x, x + vocab);
    double sum = 0;
    for (int64_t v = 0; v < vocab; ++v) sum += std::exp(x[v] - top);
    return top + std::log(sum);
  };
  double total = 0;
  for (int64_t t = 0; t < p_logits.rows(); ++t) {
    const float *p = p_logits.row<float>(t), *q = q_logits.row<float>(t);
    const double lp = log_sum(p), lq = log_sum(q);
    for (int64_t v = 0; v < vocab; ++v) total += std::exp(p[v] - lp) * ((p[v] - lp) - (q[v] - lq));
  }
  return total / static_cast<double>(p_logits.rows());
}

class ModelParity : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    directory_ = models_folder() + "/" + GetParam();
    if (GetParam() == "none") GTEST_SKIP() << "no fixtures at " << models_folder() << ": set FATHOM_FIXTURES";
    fp8_ = read_json_file(directory_ + "/config.json").contains("quantization_config");
    if (!file("expected.json") || !file("expected.safetensors"))
      GTEST_SKIP() << GetParam() << ": no expectation in this folder";
    expected_ = read_json_file(directory_ + "/expected.json");
    tensors_ = std::make_unique<SafetensorsFile>(SafetensorsFile::open(directory_ + "/expected.safetensors"));
  }
  bool file(const std::string& name) const { return std::filesystem::exists(directory_ + "/" + name); }
  bool has(const std::string& name) const { return tensors_->find(name) != nullptr; }
  Tensor reference(const std::string& name) const {
    const auto* entry = tensors_->find(name);
    if (!entry) ADD_FAILURE() << name << " is not in expected.safetensors";
    return tensors_->tensor(*entry);
  }
  // transformers ignores attn_factor (R1-0528-Qwen3-8B's key), we follow vLLM and multiply: losses and gradients of such a
  // folder are compared without it.
  // FP8 blocks are computed on as they are: for inference, packed.
  Decoder load(Compute compute, bool as_transformers) const {
    if (fp8_) return load_model(directory_, {compute, MlaFormula::kExpanded}, false);
    Decoder model = load_model(directory_, {compute, MlaFormula::kExpanded}, true);
    model.drop_packed();
    if (!as_transformers || model.config().rope_scaling.attn_factor == 1) return model;
    ModelConfig config = model.config();
    config.rope_scaling.attn_factor = 1;
    Decoder other(config, model.numerics());
    other.allocate(DType::kF32);
    const auto from = model.parameters(), to = other.parameters();
    for (size_t i = 0; i < to.size(); ++i) to[i]->value.copy_from(from[i]->value);
    return other;
  }
  static Batch one(const std::vector<int32_t>& ids) {
    Batch batch;
    batch.add(ids);
    return batch;
  }
  void check_logits(Decoder& model, size_t s, const std::string& key, const std::string& loss_key) {
    const Json& sequence = expected_["sequences"][s];
    const auto ids = sequence["input_ids"].get<std::vector<int32_t>>();
    const Batch batch = one(ids);
    const Difference d = compare(model.logits(model.forward(batch, nullptr)), reference(key));
    EXPECT_LE(d.max, 2e-4) << key;
    EXPECT_LE(d.rms, 2e-5) << key;
    std::vector<int32_t> targets(ids.begin() + 1, ids.end());
    targets.push_back(-1);
    const auto logp = model.token_log_probs(batch, targets);
    double loss = 0;
    for (const float l : logp) loss -= l;
    EXPECT_NEAR(loss / static_cast<double>(ids.size() - 1), sequence[loss_key].get<double>(), 1e-5) << key;
  }

  std::string directory_;
  bool fp8_ = false;
  Json expected_;
  std::unique_ptr<SafetensorsFile> tensors_;
};

TEST_P(ModelParity, LogitsAndLosses) {
  Decoder plain = load(Compute::kF32, true);
  for (size_t s = 0; s < expected_["sequences"].size(); ++s)
    check_logits(plain, s, "seq" + std::to_string(s) + ".logits", "loss");
  if (!has("seq0.logits_attn_factor")) return;
  Decoder served = load(Compute::kF32, false);
  for (size_t s = 0; s < expected_["sequences"].size(); ++s)
    check_logits(served, s, "seq" + std::to_string(s) + ".logits_attn_factor", "loss_attn_factor");
}

// Row i joins h_i after the final norm with the embedding of token i + 1 (report §2.2); the other readings are told apart.
TEST_P(ModelParity, MtpLogits) {
  if (!has("seq0.mtp_logits")) GTEST_SKIP() << GetParam() << " has no MTP layer";
  Decoder model = load(Compute::kF32, true);
  for (size_t s = 0; s < expected_["sequences"].size(); ++s) {
    const Json& sequence = expected_["sequences"][s];
    const std::string key = "seq" + std::to_string(s) + ".mtp_logits";
    const auto ids = sequence["input_ids"].get<std::vector<int32_t>>();
    const Batch batch = one(ids);
    const int64_t rows = static_cast<int64_t>(ids.size()) - 1;
    const Tensor logits = model.mtp_logits(batch, model.forward(batch, nullptr)).slice_rows(0, rows);
    const Difference d = compare(logits, reference(key));
    EXPECT_LE(d.max, 2e-4) << key;
    EXPECT_LE(d.rms, 2e-5) << key;
    for (const char* other : {"_pre_norm_hidden", "_zeroed_first_embedding"})
      if (has(key + other)) {
        EXPECT_GT(compare(logits, reference(key + other)).max, 1e-2) << key << other;
      }
    double loss = 0;
    for (int64_t i = 0; i + 1 < rows; ++i) {
      const float* row = logits.row<float>(i);
      double sum = 0;
      for (int64_t v = 0; v < logits.dim(1); ++v) sum += std::exp(static_cast<double>(row[v]));
      loss += std::log(sum) - row[ids[static_cast<size_t>(i) + 2]];
    }
    EXPECT_NEAR(loss / static_cast<double>(rows - 1), sequence["mtp_loss"].get<double>(), 1e-5) << key;
  }
}

TEST_P(ModelParity, LayersAndRouters) {
  Decoder model = load(Compute::kF32, true);
  Decoder::Probe probe;
  model.set_probe(&probe);
  const double weight_tolerance = 1e-5 * std::max(1.0, model.config().routed_scaling_factor);
  for (size_t s = 0; s < expected_["sequences"].size(); ++s) {
    const std::string prefix = "seq" + std::to_string(s) + ".";
    model.forward(one(expected_["sequences"][s]["input_ids"].get<std::vector<int32_t>>()), nullptr);
    if (has(prefix + "layer_outputs")) {
      EXPECT_EQ(compare(probe.embeddings, reference(prefix + "embeddings")).max, 0);
      const Tensor layers = reference(prefix + "layer_outputs");
      ASSERT_EQ(layers.dim(0), static_cast<int64_t>(probe.layer_outputs.size()));
      for (size_t l = 0; l < probe.layer_outputs.size(); ++l) {
        const Difference d = compare(probe.layer_outputs[l], layers.index(static_cast<int64_t>(l)));
        EXPECT_LE(d.max, 1e-5 * d.largest) << prefix << "layer_outputs[" << l << "]";
      }
      const Difference d = compare(probe.final_norm, reference(prefix + "final_norm"));
      EXPECT_LE(d.max, 1e-5 * d.largest) << prefix << "final_norm";
    }
    for (size_t m = 0; m < probe.moe_layers.size(); ++m) {
      const std::string layer = prefix + "layers." + std::to_string(probe.moe_layers[m]) + ".";
      if (has(layer + "router_logits")) {
        EXPECT_LE(compare(probe.router_logits[m], reference(layer + "router_logits")).max, 2e-4) << layer;
      }
      const Tensor ids = reference(layer + "expert_ids");
      ASSERT_EQ(ids.numel(), probe.expert_ids[m].numel());
      EXPECT_TRUE(std::equal(ids.data<int32_t>(), ids.data<int32_t>() + ids.numel(), probe.expert_ids[m].data<int32_t>()))
          << layer << "expert_ids";
      EXPECT_LE(compare(probe.expert_weights[m], reference(layer + "expert_weights")).max, weight_tolerance) << layer;
    }
  }
}

TEST_P(ModelParity, GreedyContinuation) {
  Decoder model = load(Compute::kF32, true);
  for (const Json& sequence : expected_["sequences"]) {
    if (!sequence.contains("greedy_continuation")) continue;
    auto ids = sequence["input_ids"].get<std::vector<int32_t>>();
    const auto wanted = sequence["greedy_continuation"].get<std::vector<int32_t>>();
    std::vector<int32_t> got;
    KvCache cache(model.num_cache_layers(), model.cache_row_bytes(), static_cast<int64_t>(ids.size() + wanted.size()) / 64 + 1);
    std::vector<int32_t> blocks(static_cast<size_t>(cache.num_blocks()));
    for (size_t b = 0; b < blocks.size(); ++b) blocks[b] = static_cast<int32_t>(b);
    Batch batch = one(ids);
    for (size_t position = ids.size(); got.size() < wanted.size(); ++position) {
      KvView view{&cache, {blocks}};
      const Tensor hidden = model.forward(batch, &view),
                   logits = model.logits(hidden.slice_rows(hidden.rows() - 1, hidden.rows()));
      const float* row = logits.data<float>();
      got.push_back(static_cast<int32_t>(std::max_element(row, row + logits.numel()) - row));
      batch = Batch();
      batch.add({&got.back(), 1}, static_cast<int32_t>(position));
    }
    EXPECT_EQ(got, wanted);
  }
}

TEST_P(ModelParity, Gradients) {
  if (!expected_.contains("gradient_batch")) GTEST_SKIP() << GetParam() << " has no gradients";
  Decoder model = load(Compute::kF32, true);
  model.allocate_grads();
  Batch batch;
  std::vector<int32_t> targets;
  for (const auto& row : expected_["gradient_batch"]["input_ids"].get<std::vector<std::vector<int32_t>>>()) {
    batch.add(row);
    targets.insert(targets.end(), row.begin() + 1, row.end());
    targets.push_back(-1);
  }
  const int64_t count = static_cast<int64_t>(std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; }));
  const TokenObjective objective = [&](int64_t, std::span<const float>, std::span<float> c) {
    std::fill(c.begin(), c.end(), -1.f / static_cast<float>(count));
  };
  const BackwardResult result = model.forward_backward(batch, targets, objective, {});
  double loss = 0, square = 0;
  for (const float l : result.logp) loss -= l;
  EXPECT_NEAR(loss / static_cast<double>(count), expected_["gradient_batch"]["loss"].get<double>(), 1e-5);
  int compared = 0;
  for (const NamedTensor& t : model.named_tensors()) {
    if (!t.grad.defined()) continue;
    ++compared;
    const Tensor wanted = reference("grad." + t.name);
    const Difference d = compare(t.grad, wanted);
    EXPECT_LE(d.relative_l2, 1e-4) << t.name;
    EXPECT_TRUE(d.largest > 0 || d.max == 0) << t.name << ": an expert without tokens";
    for (int64_t r = 0; r < (t.grad.rank() == 1 ? 1 : t.grad.rows()); ++r)
      for (int64_t i = 0; i < t.grad.numel() / (t.grad.rank() == 1 ? 1 : t.grad.rows()); ++i) {
        const double g = t.grad.rank() == 1 ? t.grad.data<float>()[i] : t.grad.row<float>(r)[i];
        square += g * g;
      }
  }
  EXPECT_GT(compared, 0);
  EXPECT_NEAR(std::sqrt(square), expected_["gradient_batch"]["grad_norm"].get<double>(), 1e-4 * std::sqrt(square));
}

TEST_P(ModelParity, Bfloat16IsAsCloseAsBfloat16CanBe) {
  Decoder model = load(Compute::kBF16, true);
  size_t longest = 0;
  for (size_t s = 0; s < expected_["sequences"].size(); ++s)
    if (expected_["sequences"][s]["input_ids"].size() > expected_["sequences"][longest]["input_ids"].size()) longest = s;
  const Tensor logits =
      model.logits(model.forward(one(expected_["sequences"][longest]["input_ids"].get<std::vector<int32_t>>()), nullptr));
  const double kl = mean_kl(reference("seq" + std::to_string(longest) + ".logits"), logits);
  const double peer = expected_["bfloat16_vs_float32"]["mean_kl"].get<double>();
  EXPECT_LE(kl, 2 * peer);
  EXPECT_GT(kl, 0);
  RecordProperty("mean_kl", std::to_string(kl));
  std::printf("%s: mean KL %.2e, transformers in bfloat16 %.2e\n", GetParam().c_str(), kl, peer);
}

TEST_P(ModelParity, TrainingCurve) {
  if (!file("training.json")) GTEST_SKIP() << GetParam() << " has no training curve";
  const Json training = read_json_file(directory_ + "/training.json");
  const SafetensorsFile file = SafetensorsFile::open(directory_ + "/training.safetensors");
  const auto* entry = file.find("tokens");
  ASSERT_TRUE(entry && entry->shape.size() == 3);
  const Tensor tokens = file.tensor(*entry);
  const int64_t rows = tokens.dim(1), length = tokens.dim(2) - 1;
  Decoder model = load(Compute::kF32, true);
  model.allocate_grads();
  AdamWConfig config;
  config.clip_norm = training["optimizer"]["clip_norm"].get<double>();
  config.weight_decay = training["optimizer"]["weight_decay"].get<double>();
  AdamW optimizer(model.parameters(), config);
  const double peak = training["optimizer"]["lr"].get<double>(), warmup = training["optimizer"]["warmup_steps"].get<double>();
  const auto losses = training["loss"].get<std::vector<double>>(), exact = training["loss_float64"].get<std::vector<double>>();
  const auto norms = training["grad_norm"].get<std::vector<double>>();
  double rounding = 0;
  for (size_t i = 0; i < losses.size(); ++i) rounding = std::max(rounding, std::abs(losses[i] - exact[i]));
  for (size_t step = 0; step < losses.size(); ++step) {
    Batch batch;
    std::vector<int32_t> targets;
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* ids = tokens.data<int32_t>() + (static_cast<int64_t>(step) * rows + r) * (length + 1);
      batch.add({ids, static_cast<size_t>(length)});
      targets.insert(targets.end(), ids + 1, ids + length + 1);
    }
    const double count = static_cast<double>(targets.size());
    const TokenObjective objective = [count](int64_t, std::span<const float>, std::span<float> c) {
      std::fill(c.begin(), c.end(), static_cast<float>(-1 / count));
    };
    const BackwardResult result = model.forward_backward(batch, targets, objective, {});
    double loss = 0;
    for (const float l : result.logp) loss -= l / count;
    const double tolerance = step < 5 ? 1e-5 * losses[step] : 10 * rounding + 1e-5;
    EXPECT_NEAR(loss, losses[step], tolerance) << "step " << step;
    const auto done = optimizer.step(peak * std::min(1.0, (static_cast<double>(step) + 1) / warmup));
    EXPECT_NEAR(done.grad_norm, norms[step], 2e-3 * norms[step]) << "step " << step;
  }
  for (const NamedTensor& t : model.named_tensors()) {
    if (!training["final_weights"].contains(t.name)) continue;
    double square = 0;
    const int64_t height = t.value.rank() == 1 ? 1 : t.value.rows(), width = t.value.numel() / height;
    for (int64_t r = 0; r < height; ++r)
      for (int64_t i = 0; i < width; ++i) {
        const double x = t.value.rank() == 1 ? t.value.data<float>()[i] : t.value.row<float>(r)[i];
        square += x * x;
      }
    const Json& wanted = training["final_weights"][t.name];
    EXPECT_NEAR(std::sqrt(square), wanted["l2"].get<double>(),
                10 * wanted["l2_float32_minus_float64"].get<double>() + 1e-5 * std::sqrt(square))
        << t.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ModelParity, testing::ValuesIn(folders()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

}  // namespace
}  // namespace fathom
