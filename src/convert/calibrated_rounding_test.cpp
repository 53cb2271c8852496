// GPTQ in a conversion: what it may change, what it must not, and that memory does not show in the result.
#include "convert/calibrated_rounding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"
#include "convert/convert_testing.h"

namespace fathom {
namespace {

Calibration calibration_for(const std::string& folder, uint64_t seed, int64_t tokens = 1200) {
  const int64_t vocab = ModelFiles(folder).config().vocab_size;
  Calibration calibration;
  calibration.context = 64;
  Rng rng(seed, RngStream::kTest);
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (auto& id : ids) id = static_cast<int32_t>(rng.next_below(static_cast<uint64_t>(vocab)));
  calibration.text.add(ids);
  return calibration;
}
// Mean square of what the final states of `path` differ by from those of `reference`, on tokens that nothing was fitted to.
double state_error(const std::string& path, const std::string& reference) {
  Decoder a = load_model(path, Numerics{}, false), b = load_model(reference, Numerics{}, false);
  const Calibration text = calibration_for(reference, 77, 200);
  double sum = 0;
  for (size_t begin = 0; begin < 200; begin += 50) {
    Batch batch;
    batch.add(text.text.all_ids().subspan(begin, 50));
    const Tensor x = a.forward(batch, nullptr), y = b.forward(batch, nullptr);
    for (int64_t i = 0; i < x.numel(); ++i)
      sum += std::pow(static_cast<double>(x.data<float>()[i]) - static_cast<double>(y.data<float>()[i]), 2);
  }
  return sum;
}

// GPTQ moves codes and nothing else: layout, scales, plain tensors are the bytes of the scheme without it; outputs lie nearer.
TEST(CalibratedRounding, SchemesKeepOutputsNotWeights) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  const int threads = num_threads();
  set_num_threads(1);  // codes do not depend on it (quant/gptq_test.cpp); regions of microseconds would mostly wait
  double log_ratio = 0;
  int judged = 0, with_experts = 0;
  for (const auto& folder : model_folders()) {
    const Calibration calibration = calibration_for(folder, 5, 400);
    const bool experts = ModelFiles(folder).config().n_routed_experts > 0;
    with_experts += experts;
    for (const std::string scheme : {"int8", "int4-g32"}) {
      if (experts && (with_experts % 2 == 1) != (scheme == "int8")) continue;  // hundreds of weights: one of the two
      TestFolder out;
      const auto quantize = [&](const std::string& name, const Calibration* text, int64_t shard_bytes = kShardBytes) {
        ConvertOptions options;
        options.from = folder, options.to = out / name, options.shard_bytes = shard_bytes, options.calibration = text;
        return quantize_model(options, scheme + (text ? "-gptq" : ""));
      };
      const std::string refused = error_of([&] { quantize("nearest", nullptr); });
      if (!refused.empty()) {  // narrow rows
        EXPECT_NE(refused.find("rows of whole groups"), std::string::npos) << refused;
        continue;
      }
      const QuantizeReport report = quantize("fitted", &calibration);
      EXPECT_EQ(read_file(out / "fitted/config.json"), read_file(out / "nearest/config.json"));
      const auto fitted = SafetensorsDirectory::open(out / "fitted"), nearest = SafetensorsDirectory::open(out / "nearest");
      ASSERT_EQ(fitted.tensors().size(), nearest.tensors().size());
      int64_t codes = 0, moved = 0;
      for (const auto& [name, located] : fitted.tensors()) {
        const auto& other = nearest.tensors().at(name);
        ASSERT_EQ(located.entry->shape, other.entry->shape) << name;
        const bool same = same_bits(located.tensor(), other.tensor());
        const bool is_codes = located.entry->dtype == DType::kI8 || name.ends_with("_packed");
        codes += is_codes, moved += is_codes && !same;
        EXPECT_TRUE(is_codes || same) << name;
      }
      EXPECT_EQ(report.converted.calibration.weights, codes) << folder;
      EXPECT_GT(moved, codes / 2) << folder << " " << scheme;
      EXPECT_LT(report.converted.calibration.error_ratio(), 1) << folder << " " << scheme;
      EXPECT_LT(report.converted.calibration.nearest_rows, report.converted.calibration.rows) << folder << " " << scheme;
      // Experts may change hands by a rounding, which says more than what they compute.
      if (!experts) log_ratio += std::log(state_error(out / "fitted", folder) / state_error(out / "nearest", folder)), ++judged;
      // The same from many readings of the text, and in many files.
      Calibration frugal = calibration;
      frugal.gram_bytes = 1500000;
      quantize("frugal", &frugal, 40000);
      expect_same_tensors(out / "fitted", out / "frugal");
    }
  }
  set_num_threads(threads);
  if (judged > 0) {
    EXPECT_LT(log_ratio / judged, std::log(0.95)) << "of the states' squared error, on tokens that nothing was fitted to";
  }
}

TEST(CalibratedRounding, TextIsCheckedBeforeWork) {
  const std::string folder = models_folder() + "/llama3-tiny";
  if (!is_directory(folder)) GTEST_SKIP() << "no fixtures at " << models_folder();
  TestFolder out;
  const auto error = [&](const std::string& from, const std::string& scheme, const Calibration* calibration) {
    ConvertOptions options;
    options.from = from, options.to = out / "made", options.calibration = calibration;
    return error_of([&] { quantize_model(options, scheme); });
  };
  const Calibration good = calibration_for(folder, 5);
  EXPECT_NE(error(folder, "int8-gptq", nullptr).find("give --calibrate FILE"), std::string::npos);
  EXPECT_NE(error(folder, "q4_0", &good).find("looks at no text"), std::string::npos);
  const Calibration small = calibration_for(folder, 5, 64);
  EXPECT_NE(error(folder, "int8-gptq", &small).find("makes 1 windows of 64 tokens"), std::string::npos);
  Calibration foreign = good;
  foreign.text.add(std::vector<int32_t>{1 << 30});
  EXPECT_NE(error(folder, "int8-gptq", &foreign).find("was it encoded for another model?"), std::string::npos);
  convert(folder, out / "int8", kHf, "int8");
  EXPECT_NE(error(out / "int8", "int8-gptq", &good).find("is int8 already"), std::string::npos);
  EXPECT_FALSE(is_directory(out / "made"));
}

TEST(CalibratedRounding, WindowsAreTakenEvenly) {
  Calibration c;
  std::vector<int32_t> ids(1000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  c.text.add(ids);
  c.text.add(std::vector<int32_t>(5, 2000));
  c.context = 10, c.tokens = 1 << 20;
  const CalibrationWindows all = plan_calibration(c);
  EXPECT_EQ(all.num_tokens(), 1005);
  EXPECT_EQ(all.held_out.size(), 13u);  // of 101
  EXPECT_EQ(all.fitted.back(), std::vector<int32_t>(5, 2000));
  c.tokens = 200;
  const CalibrationWindows some = plan_calibration(c);
  EXPECT_NEAR(static_cast<double>(some.num_tokens()), 200, 10);
  EXPECT_EQ(some.held_out.size(), 3u);  // of 20
  for (size_t i = 1; i < some.fitted.size(); ++i) {
    const int32_t step = some.fitted[i][0] - some.fitted[i - 1][0];
    EXPECT_GE(step, 40) << i;
    EXPECT_LE(step, some.fitted[i][0] < 1000 ? 110 : 1110) << i << ": one between them may be held out";
  }
  if (!is_directory(models_folder() + "/llama3-tiny")) return;
  const ModelFiles files(models_folder() + "/llama3-tiny");
  const auto identity = [&](const Calibration& calibration) { return CalibratedRounding(files, calibration, {}).identity(); };
  const Calibration a = calibration_for(models_folder() + "/llama3-tiny", 1),
                    b = calibration_for(models_folder() + "/llama3-tiny", 2);
  Calibration wider = a;
  wider.context = 128;
  EXPECT_EQ(identity(a), identity(Calibration(a)));
  EXPECT_NE(identity(a), identity(b));
  EXPECT_NE(identity(a), identity(wider));
}

}  // namespace
}  // namespace fathom
