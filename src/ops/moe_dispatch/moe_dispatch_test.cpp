#include "ops/moe_dispatch/moe_dispatch.h"

#include <algorithm>

#include "kernels/op_testing.h"

namespace fathom {
namespace {

using namespace fathom::testing;

// k different experts a token, ascending; low experts are liked better, the last one gets nothing.
Tensor some_ids(int64_t tokens, int64_t k, int experts, uint64_t seed) {
  Tensor ids = Tensor::empty({tokens, k}, DType::kI32);
  Rng rng(seed, RngStream::kTest);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int32_t> chosen;
    while (static_cast<int64_t>(chosen.size()) < k) {
      const auto e = static_cast<int32_t>(rng.next_below(rng.next_below(experts - 1) + 1));
      if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) chosen.push_back(e);
    }
    std::sort(chosen.begin(), chosen.end());
    std::copy(chosen.begin(), chosen.end(), ids.row<int32_t>(t));
  }
  return ids;
}

TEST(MoeDispatch, SortsByExpertThenToken) {
  for (int64_t tokens : {0, 1, 5, 300})
    for (int64_t k : {1, 3, 6}) {
      const int experts = 9;
      const Tensor ids = some_ids(tokens, k, experts, tokens + k);
      const Dispatch d = make_dispatch(ids, experts);
      ASSERT_EQ(d.offsets.size(), experts + 1u);
      EXPECT_EQ(d.offsets.front(), 0);
      EXPECT_EQ(d.offsets.back(), tokens * k);
      EXPECT_EQ(d.offsets[experts - 1], d.offsets[experts]) << "an expert without tokens";
      std::vector<char> seen(tokens * k);
      for (int e = 0; e < experts; ++e)
        for (int32_t r = d.offsets[e]; r < d.offsets[e + 1]; ++r) {
          EXPECT_EQ(ids.row<int32_t>(d.rows[r])[d.slots[r]], e);
          EXPECT_EQ(d.position[d.rows[r] * k + d.slots[r]], r);
          EXPECT_FALSE(seen[d.rows[r] * k + d.slots[r]]++);
          EXPECT_TRUE(r == d.offsets[e] || d.rows[r - 1] < d.rows[r]);
        }
    }
}

TEST(MoeDispatch, WeightsGoThereAndBack) {
  const Tensor ids = some_ids(40, 3, 8, 1), weights = random_tensor({40, 3}, DType::kF32, 2);
  const Dispatch d = make_dispatch(ids, 8);
  const Tensor routed = dispatch_weights(d, weights);
  for (int64_t r = 0; r < 120; ++r) EXPECT_EQ(routed.data<float>()[r], weights.row<float>(d.rows[r])[d.slots[r]]);
  Tensor back = Tensor::empty({40, 3}, DType::kF32);
  undispatch_weights(d, routed, back);
  EXPECT_EQ(bytes_of(back), bytes_of(weights));
}

TEST(MoeDispatch, CombineAddsInTheOrderOfSlots) {
  for (int64_t k : {1, 2, 6})
    for (int64_t width : {3, 16, 50})
      for (DType rt : {DType::kF32, DType::kBF16})
        for (DType yt : {DType::kF32, DType::kBF16})
          for (bool accumulate : {false, true}) {
            const Dispatch d = make_dispatch(some_ids(30, k, 9, k), 9);
            const Tensor routed = strided(random_tensor({30 * k, width}, rt, 3)), before = random_tensor({30, width}, yt, 4);
            Tensor want = Tensor::empty({30, width}, DType::kF32);
            const Tensor wide = routed.to(DType::kF32), old = before.to(DType::kF32);
            for (int64_t t = 0; t < 30; ++t)
              for (int64_t i = 0; i < width; ++i) {
                float sum = wide.row<float>(d.position[t * k])[i];
                for (int64_t j = 1; j < k; ++j) sum += wide.row<float>(d.position[t * k + j])[i];
                want.row<float>(t)[i] = accumulate ? old.row<float>(t)[i] + sum : sum;
              }
            Tensor y = strided(before);
            combine_forward(d, routed, accumulate, y);
            EXPECT_EQ(bytes_of(y), bytes_of(want.to(yt)));
          }
}

TEST(MoeDispatch, BitsDependOnTheTokenAlone) {
  const int64_t tokens = 257, k = 4, width = 100;
  const Tensor ids = some_ids(tokens, k, 12, 1);
  const Dispatch d = make_dispatch(ids, 12);
  const Tensor routed = random_tensor({tokens * k, width}, DType::kF32, 2);
  expect_same_bits_everywhere([&] {
    Tensor y = Tensor::empty({tokens, width}, DType::kF32);
    combine_forward(d, routed, false, y);
    for (int64_t t : {0, 128, 256}) {  // the token by itself: its own dispatch, its own routed rows
      const Dispatch alone = make_dispatch(ids.slice_rows(t, t + 1), 12);
      Tensor rows = Tensor::empty({k, width}, DType::kF32), one = Tensor::empty({1, width}, DType::kF32);
      for (int64_t j = 0; j < k; ++j) {
        Tensor row = rows.slice_rows(alone.position[j], alone.position[j] + 1);
        row.copy_from(routed.slice_rows(d.position[t * k + j], d.position[t * k + j] + 1));
      }
      combine_forward(alone, rows, false, one);
      EXPECT_EQ(bytes_of(one), bytes_of(y.slice_rows(t, t + 1)));
    }
    return bytes_of(y);
  });
}

}  // namespace
}  // namespace fathom
