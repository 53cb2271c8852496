// Grams against sums over inputs that are known, and what must not change them.
#include "quant/input_grams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/op_testing.h"
#include "model/decoder_testing.h"
#include "nn/linear.h"

namespace fathom {
namespace {

using testing::bytes_of;
using testing::random_tensor;

// Sum over rows of x_i x_j, by expert where groups are given.
double by_hand(const Tensor& x, std::span<const int32_t> rows, int64_t i, int64_t j) {
  double sum = 0;
  for (const int32_t r : rows) sum += static_cast<double>(x.row<float>(r)[i]) * static_cast<double>(x.row<float>(r)[j]);
  return sum;
}

TEST(InputGrams, AddUpWhatALayerMultiplies) {
  const int64_t k = 24;
  Linear layer({{"a", 7}, {"b", 5}}, k);
  layer.weight.value = random_tensor({12, k}, DType::kF32, 1);
  const Tensor x = random_tensor({19, k}, DType::kF32, 2);
  Tensor y = Tensor::empty({19, 12}, DType::kF32);
  layer.forward(x, Compute::kF32, y);
  const std::string without = bytes_of(y);
  layer.weight.input_gram = Tensor::zeros({k, k}, DType::kF32);
  layer.forward(x, Compute::kF32, y);
  layer.forward(x, Compute::kF32, y);
  EXPECT_EQ(bytes_of(y), without);
  std::vector<int32_t> all(19);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j) EXPECT_NEAR(layer.weight.input_gram.row<float>(i)[j], 2 * by_hand(x, all, i, j), 1e-4);
}

TEST(InputGrams, OfExpertsByExpert) {
  const int64_t k = 16;
  Parameter bank;
  bank.shape = {4, 3, k};
  bank.input_gram = Tensor::zeros({4, k, k}, DType::kF32);
  const Tensor x = random_tensor({6, k}, DType::kF32, 3);
  const std::vector<int32_t> offsets = {0, 3, 3, 4, 9}, rows = {0, 2, 5, 1, 0, 1, 2, 3, 4};
  add_input_gram(bank, x, {offsets, rows.data()}, Compute::kF32);
  const Tensor routed = random_tensor({9, k}, DType::kF32, 4);
  Parameter other;
  other.shape = bank.shape;
  other.input_gram = Tensor::zeros({4, k, k}, DType::kF32);
  add_input_gram(other, routed, {offsets}, Compute::kF32);
  for (size_t e = 0; e < 4; ++e) {
    const auto first = static_cast<size_t>(offsets[e]), count = static_cast<size_t>(offsets[e + 1]) - first;
    std::vector<int32_t> identity(count);
    for (size_t i = 0; i < count; ++i) identity[i] = static_cast<int32_t>(first + i);
    const Tensor gram = bank.input_gram.index(static_cast<int64_t>(e)), plain = other.input_gram.index(static_cast<int64_t>(e));
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j) {
        EXPECT_NEAR(gram.row<float>(i)[j], by_hand(x, std::span(rows).subspan(first, count), i, j), 1e-4) << e;
        EXPECT_NEAR(plain.row<float>(i)[j], by_hand(routed, identity, i, j), 1e-4) << e;
      }
  }
}

std::vector<Parameter*> linear_weights(Decoder& model) {
  std::vector<Parameter*> weights;
  std::vector<const Parameter*> owners;
  for (const NamedTensor& t : model.named_tensors())
    if (t.owner && t.name != "lm_head.weight") owners.push_back(t.owner);  // no part of the forward
  for (Parameter* p : model.parameters())
    if (std::find(owners.begin(), owners.end(), p) != owners.end()) weights.push_back(p);
  return weights;
}

// Every linear layer of every family is seen, the MTP module's too, packed or not; sums are the same whichever are asked for.
TEST(InputGrams, OfWholeModels) {
  CalibrationWindows windows;
  for (uint64_t i = 0; i < 5; ++i) windows.fitted.push_back(tiny_tokens(40 + static_cast<int64_t>(i), i));
  windows.held_out.push_back(tiny_tokens(33, 99));
  EXPECT_EQ(windows.num_tokens(), 40 + 41 + 42 + 43 + 44 + 33);
  for (const char* kind : {"v3", "v2lite", "qwen2", "qwen3", "llama"}) {
    Decoder model = tiny_model(kind, Numerics{});
    const std::vector<Parameter*> weights = linear_weights(model);
    std::vector<int64_t> seen;
    const auto grams = gather_input_grams(
        model, weights, windows, [&](int64_t done) { seen.push_back(done); }, nullptr);
    ASSERT_EQ(grams.size(), weights.size());
    EXPECT_EQ(seen.back(), windows.num_tokens());
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_FALSE(weights[i]->input_gram.defined()) << "left behind at " << weights[i]->name;
      EXPECT_EQ(grams[i].fitted.bytes() + grams[i].held_out.bytes(), input_gram_bytes(*weights[i]));
      for (const Tensor& gram : {grams[i].fitted, grams[i].held_out}) {
        const bool bank = gram.rank() == 3;
        double power = 0;
        for (int64_t e = 0; e < (bank ? gram.dim(0) : 1); ++e) {
          const Tensor one = bank ? gram.index(e) : gram;
          for (int64_t r = 0; r < one.rows(); ++r) {
            power += static_cast<double>(one.row<float>(r)[r]);
            for (int64_t c = 0; c < r; ++c)
              EXPECT_NEAR(one.row<float>(r)[c], one.row<float>(c)[r], 1e-3 * std::fabs(one.row<float>(r)[r]) + 1e-3)
                  << weights[i]->name;
          }
        }
        EXPECT_GT(power, 0) << kind << " " << weights[i]->name;
      }
    }
    model.prepack();
    const size_t last = weights.size() - 1;
    Parameter* some[] = {weights[last], weights[1]};
    const auto again = gather_input_grams(model, some, windows, nullptr, nullptr);
    ASSERT_EQ(again.size(), 2u);
    EXPECT_EQ(bytes_of(again[0].fitted), bytes_of(grams[last].fitted)) << kind;
    EXPECT_EQ(bytes_of(again[0].held_out), bytes_of(grams[last].held_out)) << kind;
    EXPECT_EQ(bytes_of(again[1].fitted), bytes_of(grams[1].fitted)) << kind;
    EXPECT_TRUE(gather_input_grams(model, some, windows, nullptr, [] { return true; }).empty());
    EXPECT_FALSE(some[0]->input_gram.defined());
  }
}

TEST(InputGrams, BrokenWeightsAreNamed) {
  Decoder model = tiny_model("qwen2", Numerics{});
  std::vector<Parameter*> weights = linear_weights(model);
  weights[0]->value.data<float>()[3] = INFINITY;
  CalibrationWindows windows;
  windows.fitted = windows.held_out = {tiny_tokens(8, 1)};
  try {
    gather_input_grams(model, weights, windows, nullptr, nullptr);
    FAIL() << "nothing was said";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("are not finite on the calibration text"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fathom
