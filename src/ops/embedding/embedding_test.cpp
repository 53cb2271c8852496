#include "ops/embedding/embedding.h"

#include "kernels/op_testing.h"

namespace fathom {
namespace {

using namespace fathom::testing;

// Ids with many repetitions, as text has.
std::vector<int32_t> some_ids(int64_t n, int32_t vocabulary, uint64_t seed) {
  Rng rng(seed, RngStream::kTest);
  std::vector<int32_t> ids(n);
  for (auto& id : ids) id = static_cast<int32_t>(rng.next_below(rng.next_below(vocabulary) + 1));
  return ids;
}

TEST(Embedding, ForwardTakesRows) {
  for (DType type : {DType::kF32, DType::kBF16})
    for (int64_t width : {1, 24, 100}) {
      const Tensor table = strided(random_tensor({50, width}, type, 1));
      const auto ids = some_ids(300, 50, 2);
      Tensor y = strided(Tensor::zeros({300, width}, DType::kF32));
      embedding_forward(ids, table, y);
      const Tensor wide = table.to(DType::kF32);
      for (int64_t t = 0; t < 300; ++t)
        EXPECT_EQ(bytes_of(y.slice_rows(t, t + 1)), bytes_of(wide.slice_rows(ids[t], ids[t] + 1)));
    }
}

TEST(Embedding, BackwardAddsInTheOrderOfTokens) {
  for (DType type : {DType::kF32, DType::kBF16}) {
    const int64_t n = 1000, width = 36;
    const auto ids = some_ids(n, 70, 3);
    const Tensor dy = strided(random_tensor({n, width}, type, 4)), before = random_tensor({70, width}, DType::kF32, 5);
    // Floats added one by one: the contract fixes the order, so the bits are equal.
    Tensor want = before.clone();
    const Tensor wide = dy.to(DType::kF32);
    for (int64_t t = 0; t < n; ++t)
      for (int64_t i = 0; i < width; ++i) want.row<float>(ids[t])[i] += wide.row<float>(t)[i];
    expect_same_bits_everywhere([&] {
      Tensor got = before.clone();
      embedding_backward(ids, dy, got);
      EXPECT_EQ(bytes_of(got), bytes_of(want));
      return bytes_of(got);
    });
  }
}

TEST(Embedding, NoTokens) {
  const Tensor table = random_tensor({5, 8}, DType::kF32, 1);
  Tensor y = Tensor::empty({0, 8}, DType::kF32), dtable = table.clone();
  embedding_forward({}, table, y);
  embedding_backward({}, y, dtable);
  EXPECT_EQ(bytes_of(dtable), bytes_of(table));
}

TEST(EmbeddingDeathTest, AnIdOutsideTheTableAborts) {
  const Tensor table = random_tensor({5, 8}, DType::kF32, 1);
  Tensor y = Tensor::empty({1, 8}, DType::kF32);
  for (int32_t bad : {-1, 5}) {
    const std::vector<int32_t> ids = {bad};
    EXPECT_DEATH(embedding_forward(ids, table, y), "CHECK failed");
  }
}

}  // namespace
}  // namespace fathom
