// The oracle itself: a case computed by hand, and its gradient against central differences.
#include "ops/attention/attention_ref.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/attention/attention_problem.h"

namespace fathom {
namespace {

TEST(AttentionRef, ByHand) {  // one head, keys 1 and 3, values 10 and 20, queries 2 and 1, scale 0.5
  AttentionLayout l = grouped_layout(1, 1, 1);
  l.scale = 0.5f;
  float q[] = {2, 1}, kv[] = {1, 10, 3, 20};
  const Tensor tq = Tensor::wrap(q, {2, 1}, DType::kF32), tkv = Tensor::wrap(kv, {2, 2}, DType::kF32);
  const std::vector<int64_t> begins = {0, 2};
  const auto blocks = packed_blocks(tkv, begins);
  const AttentionSequence sequence{0, 2, 0, blocks[0]};
  Tensor out = Tensor::empty({2, 1}, DType::kF32), lse = Tensor::empty({2, 1}, DType::kF32);
  attention_forward_ref(l, tq, {&sequence, 1}, out, &lse);
  EXPECT_FLOAT_EQ(out.data<float>()[0], 10);
  EXPECT_FLOAT_EQ(lse.data<float>()[0], 1);
  const double a = std::exp(0.5), b = std::exp(1.5);
  EXPECT_FLOAT_EQ(out.data<float>()[1], (10 * a + 20 * b) / (a + b));
  EXPECT_FLOAT_EQ(lse.data<float>()[1], std::log(a + b));
}

class AttentionRefGradient : public ::testing::TestWithParam<AttentionLayout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, AttentionRefGradient,
                         ::testing::Values(grouped_layout(4, 2, 3), expanded_layout(3, 4, 2, 5), absorbed_layout(3, 6, 2)));

TEST_P(AttentionRefGradient, CentralDifferences) {
  const AttentionLayout& l = GetParam();
  AttentionProblem p = make_attention_problem(l, DType::kF32, {5, 3}, {5, 3}, 11);
  const AttentionProblem weights = make_attention_problem(l, DType::kF32, {5, 3}, {5, 3}, 12);  // its q, cut, as dout
  Tensor dout = Tensor::zeros({8, l.num_heads * l.value_width}, DType::kF32), out = dout.clone();
  for (int64_t i = 0; i < dout.numel(); ++i) dout.data<float>()[i] = weights.q.data<float>()[i % weights.q.numel()];
  Tensor dq = Tensor::empty(p.q.shape(), DType::kF32), dkv = Tensor::empty(p.kv.shape(), DType::kF32);
  attention_backward_ref(l, p.q, p.kv, p.sequences, dout, dq, dkv);
  auto loss = [&] {
    attention_forward_ref(l, p.q, p.sequences, out, nullptr);
    double sum = 0;
    for (int64_t i = 0; i < out.numel(); ++i) sum += static_cast<double>(out.data<float>()[i]) * dout.data<float>()[i];
    return sum;
  };
  auto check = [&](Tensor& x, const Tensor& dx) {
    for (int64_t i = 0; i < x.numel(); ++i) {
      float& v = x.data<float>()[i];
      const float before = v, h = 1.f / 64;
      v = before + h;
      const double up = loss();
      v = before - h;
      const double down = loss();
      v = before;
      // f32 outputs: error about 1e-6 / h; the third derivative times h^2/6 stays below 1e-3 here.
      EXPECT_NEAR((up - down) / (2 * h), dx.data<float>()[i], 2e-3) << i;
    }
  };
  check(p.q, dq);
  check(p.kv, dkv);
}

}  // namespace
}  // namespace fathom
