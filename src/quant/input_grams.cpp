#include "quant/input_grams.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "base/error.h"

namespace fathom {
namespace {

constexpr int64_t kForwardRows = 1024;  // windows share a forward of so many rows

Shape gram_shape(const Parameter& weight) {
  const bool bank = weight.shape.rank() == 3;
  const int64_t k = weight.shape[bank ? 2 : 1];
  return bank ? Shape{weight.shape[0], k, k} : Shape{k, k};
}

// Grams are with their Parameters while one of these lives.
class Gathering {
 public:
  Gathering(std::span<Parameter* const> weights, std::vector<InputGram>& grams, Tensor InputGram::*of) : weights_(weights) {
    for (size_t i = 0; i < weights.size(); ++i) weights[i]->input_gram = grams[i].*of;
  }
  ~Gathering() {
    for (Parameter* p : weights_) p->input_gram = Tensor();
  }
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

 private:
  std::span<Parameter* const> weights_;
};

void check_finite(const Parameter& weight, const Tensor& gram) {
  const float* x = gram.data<float>();
  for (int64_t i = 0; i < gram.numel(); ++i)
    if (!std::isfinite(x[i]))
      fail_usage("quantize", "the inputs of '" + weight.name +
                                 "' are not finite on the calibration text, or their squares are not; are the weights broken?");
}

}  // namespace

int64_t CalibrationWindows::num_tokens() const {
  int64_t tokens = 0;
  for (const auto* windows : {&fitted, &held_out})
    for (const auto& window : *windows) tokens += static_cast<int64_t>(window.size());
  return tokens;
}

int64_t input_gram_bytes(const Parameter& weight) { return 2 * gram_shape(weight).numel() * int64_t{sizeof(float)}; }

std::vector<InputGram> gather_input_grams(Decoder& model, std::span<Parameter* const> weights,
                                          const CalibrationWindows& windows, const std::function<void(int64_t)>& on_progress,
                                          const std::function<bool()>& stop) {
  std::vector<InputGram> grams;
  for (const Parameter* p : weights) {
    CHECK(p->shape.rank() >= 2);
    grams.push_back({Tensor::zeros(gram_shape(*p), DType::kF32), Tensor::zeros(gram_shape(*p), DType::kF32)});
  }
  int64_t done = 0;
  for (const bool held_out : {false, true}) {
    const Gathering gathering(weights, grams, held_out ? &InputGram::held_out : &InputGram::fitted);
    const auto& part = held_out ? windows.held_out : windows.fitted;
    for (size_t begin = 0; begin < part.size();) {
      if (stop && stop()) return {};
      Batch batch;
      do {
        batch.add(part[begin]);
      } while (++begin < part.size() && batch.num_rows() + static_cast<int64_t>(part[begin].size()) <= kForwardRows);
      const Tensor hidden = model.forward(batch, nullptr);
      if (model.has_mtp()) model.mtp_logits(batch, hidden);
      done += batch.num_rows();
      if (on_progress) on_progress(done);
    }
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    check_finite(*weights[i], grams[i].fitted);
    check_finite(*weights[i], grams[i].held_out);
  }
  return grams;
}

}  // namespace fathom
