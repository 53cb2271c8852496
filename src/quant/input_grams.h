// What calibrated quantisers know of a layer's inputs: x^T x over the rows of a text, one matrix for every weight.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/decoder.h"

namespace fathom {

// Token ids that the model reads, each window by itself: those that weights are fitted to, and those that judge the result.
struct CalibrationWindows {
  std::vector<std::vector<int32_t>> fitted, held_out;
  int64_t num_tokens() const;
};

struct InputGram {
  Tensor fitted, held_out;  // [K, K] F32; of a bank [E, K, K]
};
int64_t input_gram_bytes(const Parameter& weight);  // of both

// The grams of `weights` (of linear layers, or banks of experts; Parameters of `model`) in their order, from one reading of
// all windows. The sums do not depend on which weights are asked for together. on_progress(tokens read) after every forward;
// empty where stop() asked for the end. Error (usage) that names the weight whose inputs were not finite.
std::vector<InputGram> gather_input_grams(Decoder& model, std::span<Parameter* const> weights,
                                          const CalibrationWindows& windows, const std::function<void(int64_t)>& on_progress,
                                          const std::function<bool()>& stop);

}  // namespace fathom
