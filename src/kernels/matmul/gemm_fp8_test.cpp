// FP8 blocks: gemm() against its oracle bit for bit on every rung and form of arithmetic; fused parts, ragged edges, slices and
// transposes of a published tensor; one row has the bits of many.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/gemm_testing.h"
#include "tensor/format/e4m3.h"

namespace fathom {
namespace {

class GemmFp8 : public GemmTest {};

// All bytes but NaN, subnormals too; scales over a wide range.
WeightPart random_weight(Rng& rng, int64_t rows, int64_t k) {
  WeightPart w;
  w.values = Tensor::empty({rows, k}, DType::kF8E4M3);
  for (int64_t i = 0; i < rows * k; ++i) {
    uint8_t byte;
    do byte = static_cast<uint8_t>(rng.next_below(256));
    while (e4m3_is_nan(byte));
    reinterpret_cast<uint8_t*>(w.values.raw())[i] = byte;
  }
  w.scales = Tensor::empty({(rows + 127) / 128, (k + 127) / 128}, DType::kF32);
  for (int64_t i = 0; i < w.scales.numel(); ++i) w.scales.data<float>()[i] = std::exp2(rng.next_normal() * 3) * 1e-3f;
  return w;
}
Tensor random_rows(Rng& rng, int64_t m, int64_t k, bool bf16) {
  Tensor x = Tensor::empty({m, k}, DType::kF32);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = rng.next_normal();
  return bf16 ? x.to(DType::kBF16) : x;
}
GemmProblem problem(const Tensor& x, Tensor& y) {
  GemmProblem g;
  g.a = {x.raw(), x.row_stride(), nullptr, x.dtype() == DType::kBF16, true};
  g.m = x.rows(), g.k = x.dim(1), g.n = y.dim(1);
  g.c = y.raw(), g.ldc = y.row_stride();
  return g;
}

TEST(E4m3, EveryByte) {
  EXPECT_EQ(e4m3_to_float(0x7e), 448.f);
  EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
  EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);
  EXPECT_EQ(e4m3_to_float(0xb8), -1.f);
  EXPECT_TRUE(std::isnan(e4m3_to_float(0xff)) && e4m3_is_nan(0x7f));
  for (int i = 0; i < 0x7e; ++i) EXPECT_LT(e4m3_to_float(static_cast<uint8_t>(i)), e4m3_to_float(static_cast<uint8_t>(i + 1)));
}

// Every byte through every rung's widening: K = 1 and a unit activation give the weight itself.
TEST_F(GemmFp8, EveryByteIsWidenedExactly) {
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    WeightPart w;
    w.values = Tensor::zeros({256, 1}, DType::kF8E4M3);
    for (int i = 0; i < 256; ++i)
      reinterpret_cast<uint8_t*>(w.values.raw())[i] = e4m3_is_nan(static_cast<uint8_t>(i)) ? 0 : static_cast<uint8_t>(i);
    w.scales = Tensor::empty({2, 1}, DType::kF32);
    w.scales.data<float>()[0] = 1.5f, w.scales.data<float>()[1] = 3.f;
    const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
    EXPECT_FALSE(packed.has_nan());
    for (const int64_t m : {int64_t{1}, int64_t{16}}) {
      Tensor x = Tensor::empty({m, 1}, DType::kF32), y = Tensor::zeros({m, 256}, DType::kF32);
      for (int64_t i = 0; i < m; ++i) x.data<float>()[i] = 1;
      GemmProblem g = problem(x, y);
      g.packed = packed.data(), g.packed_format = packed.format();
      gemm({&g, 1}, {e.compute, false, false});
      for (int i = 0; i < 256; ++i)
        EXPECT_EQ(y.row<float>(m - 1)[i], e4m3_to_float(reinterpret_cast<uint8_t*>(w.values.raw())[i]) * (i < 128 ? 1.5f : 3.f))
            << isa_name(e.isa) << " byte " << i;
    }
  }
}

TEST_F(GemmFp8, BitsOfTheOracle) {
  Rng rng(11, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (int i = 0; i < 24; ++i) {
      const int64_t sizes[] = {1, 2, 3, 4, 6, 7, 13, 15, 29, 33, 48, 100, 200};
      const int64_t outs[] = {1, 16, 31, 33, 64, 136, 160, 257, 288, 320};
      const int64_t depths[] = {1, 16, 33, 127, 128, 129, 144, 160, 256, 320, 1025, 2300};
      int64_t m = sizes[rng.next_below(13)], n = outs[rng.next_below(10)], k = depths[rng.next_below(12)];
      const int64_t limit = e.emulated ? 200000 : 3000000;
      while (m * n * k > limit) (m > n ? m : k) /= 2;
      const bool a_bf16 = rng.next_below(2), c_bf16 = rng.next_below(2), accumulate = rng.next_below(2);
      const WeightPart w = random_weight(rng, n, k);
      const Tensor x = random_rows(rng, m, k, a_bf16), bias = random_rows(rng, 1, n, false),
                   start = random_rows(rng, m, n + 3, c_bf16);
      Tensor got = start.clone(), expected = start.clone();
      const GemmOptions options = {e.compute, c_bf16, accumulate};
      Tensor expected_view = expected.slice_columns(0, n), got_view = got.slice_columns(0, n);
      GemmProblem g = problem(x, expected_view);
      if (rng.next_below(2)) g.bias = bias.raw();
      gemm_reference_fp8(g, w, options, e.order);
      const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
      g.packed = packed.data(), g.packed_format = packed.format(), g.c = got_view.raw();
      set_num_threads(1 + static_cast<int>(rng.next_below(3)));
      gemm({&g, 1}, options);
      ASSERT_EQ(std::memcmp(got.raw(), expected.raw(), static_cast<size_t>(got.bytes())), 0)
          << isa_name(e.isa) << " engine " << static_cast<int>(e.engine) << " m " << m << " n " << n << " k " << k;
    }
  }
}

TEST_F(GemmFp8, OneRowHasTheBitsOfMany) {
  Rng rng(12, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    const int64_t m = e.emulated ? 37 : 257, n = e.emulated ? 40 : 200, k = e.emulated ? 140 : 720;
    const WeightPart w = random_weight(rng, n, k);
    const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
    const Tensor x = random_rows(rng, m, k, false);
    Tensor all = Tensor::empty({m, n}, DType::kF32);
    GemmProblem g = problem(x, all);
    g.packed = packed.data(), g.packed_format = packed.format();
    set_num_threads(1);
    gemm({&g, 1}, {e.compute, false, false});
    for (const int threads : {1, 2, 5})
      for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{7}, int64_t{30}, m}) {
        set_num_threads(threads);
        Tensor some = Tensor::zeros({rows, n}, DType::kF32);
        const Tensor last = x.slice_rows(m - rows, m);
        GemmProblem h = problem(last, some);
        h.packed = g.packed, h.packed_format = g.packed_format;
        gemm({&h, 1}, {e.compute, false, false});
        ASSERT_EQ(std::memcmp(some.raw(), all.row<float>(m - rows), static_cast<size_t>(some.bytes())), 0)
            << isa_name(e.isa) << " engine " << static_cast<int>(e.engine) << " rows " << rows << " threads " << threads;
      }
  }
}

// Fused parts, rows of a tensor that begin inside a block, and the transpose: each as the oracle of its own part.
TEST_F(GemmFp8, PartsSlicesAndTransposes) {
  Rng rng(13, RngStream::kTest);
  const int64_t k = 144, m = 5;
  const WeightPart a = random_weight(rng, 136, k), b = random_weight(rng, 160, k);
  const Tensor x = random_rows(rng, m, k, false);
  Tensor fused = Tensor::empty({m, 296}, DType::kF32), expected = Tensor::empty({m, 296}, DType::kF32);
  const GemmOptions options = {Compute::kF32, false, false};
  const auto reference = [&](const WeightPart& part, const Tensor& in, Tensor out) {
    GemmProblem g = problem(in, out);
    gemm_reference_fp8(g, part, options, GemmOrder::kF32);
  };
  const auto run = [&](std::span<const WeightPart> parts, const Tensor& in, Tensor& out) {
    const PackedMatrix packed = PackedMatrix::pack(parts, Compute::kF32);
    GemmProblem g = problem(in, out);
    g.packed = packed.data(), g.packed_format = packed.format();
    gemm({&g, 1}, options);
  };
  const WeightPart parts[] = {a, b};
  run(parts, x, fused);
  reference(a, x, expected.slice_columns(0, 136));
  reference(b, x, expected.slice_columns(136, 296));
  EXPECT_EQ(std::memcmp(fused.raw(), expected.raw(), static_cast<size_t>(fused.bytes())), 0);

  WeightPart slice = {b.values.slice_rows(120, 150), b.scales, 120, false};
  Tensor y = Tensor::empty({m, 30}, DType::kF32), z = Tensor::empty({m, 30}, DType::kF32);
  run({&slice, 1}, x, y);
  reference(slice, x, z);
  EXPECT_EQ(std::memcmp(y.raw(), z.raw(), static_cast<size_t>(y.bytes())), 0);

  WeightPart transposed = {b.values.slice_rows(72, 104), b.scales, 72, true};
  EXPECT_TRUE(transposed.blocks_fit());
  const Tensor q = random_rows(rng, m, 32, false);
  Tensor u = Tensor::empty({m, k}, DType::kF32), v = Tensor::empty({m, k}, DType::kF32);
  run({&transposed, 1}, q, u);
  reference(transposed, q, v);
  EXPECT_EQ(std::memcmp(u.raw(), v.raw(), static_cast<size_t>(u.bytes())), 0);
  EXPECT_FALSE((WeightPart{b.values.slice_rows(112, 144), b.scales, 112, true}.blocks_fit()));
}

TEST_F(GemmFp8, NanIsNoticed) {
  Rng rng(14, RngStream::kTest);
  WeightPart w = random_weight(rng, 40, 50);
  EXPECT_FALSE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
  reinterpret_cast<uint8_t*>(w.values.raw())[1777] = 0xff;
  EXPECT_TRUE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
  w = random_weight(rng, 40, 50);
  w.scales.data<float>()[0] = INFINITY;
  EXPECT_TRUE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
}

}  // namespace
}  // namespace fathom
