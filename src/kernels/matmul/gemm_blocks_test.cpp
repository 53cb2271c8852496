// Weights in blocks, every format: gemm() against its oracle bit for bit on every rung and form of arithmetic, and against
// the dequantised values; fused parts, ragged edges, slices and transposes of a published tensor; one row has the bits of many.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/gemm_testing.h"
#include "kernels/matmul/random_part.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/e4m3.h"

namespace fathom {
namespace {

class GemmBlocks : public GemmTest {};

constexpr WeightFormat kFormats[] = {WeightFormat::kFp8Block,    WeightFormat::kInt8Row, WeightFormat::kQ8_0,
                                     WeightFormat::kQ4_0,        WeightFormat::kQ4_1,    WeightFormat::kQ5_0,
                                     WeightFormat::kQ4_K,        WeightFormat::kQ6_K,    WeightFormat::kInt4Group32,
                                     WeightFormat::kInt4Group128};
// Scales over a wide range, subnormal halves too.
WeightPart random_weight(Rng& rng, WeightFormat format, int64_t rows, int64_t k) {
  return random_part(format, rows, k, rng.next_u64(), 0.02f, 3.f);
}
WeightPart random_fp8(Rng& rng, int64_t rows, int64_t k) { return random_weight(rng, WeightFormat::kFp8Block, rows, k); }
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
TEST_F(GemmBlocks, EveryByteIsWidenedExactly) {
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
      use(g, packed);
      gemm({&g, 1}, {e.compute, false, false});
      for (int i = 0; i < 256; ++i)
        EXPECT_EQ(y.row<float>(m - 1)[i], e4m3_to_float(reinterpret_cast<uint8_t*>(w.values.raw())[i]) * (i < 128 ? 1.5f : 3.f))
            << isa_name(e.isa) << " byte " << i;
    }
  }
}

// Every small integer of every format, in every lane and at every k of a block: a unit activation picks one weight.
TEST_F(GemmBlocks, EveryCodeIsWidenedExactly) {
  Rng rng(10, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (const WeightFormat format : kFormats) {
      const int64_t k = 256, n = 64;
      const WeightPart w = random_weight(rng, format, n, k);
      const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
      const int64_t m = e.emulated ? 1 : 9;
      set_num_threads(1);
      for (int64_t at = 0; at < k; at += e.emulated ? 37 : 1) {
        Tensor x = Tensor::zeros({m, k}, DType::kF32), y = Tensor::zeros({m, n}, DType::kF32),
               z = Tensor::zeros({m, n}, DType::kF32);
        for (int64_t i = 0; i < m; ++i) x.row<float>(i)[at] = 1;
        GemmProblem g = problem(x, z);
        if (e.emulated || at % 16 == 9) gemm_reference_blocks(g, w, {e.compute, false, false}, e.order);
        use(g, packed);
        g.c = y.raw();
        gemm({&g, 1}, {e.compute, false, false});
        std::vector<float> row(static_cast<size_t>(k));
        for (int64_t j = 0; j < n && w.values.dtype() == DType::kU8; ++j) {
          dequantize_row(w.type, w.values.raw() + j * w.values.dim(1), k, row.data());
          ASSERT_FLOAT_EQ(y.row<float>(m - 1)[j], row[static_cast<size_t>(at)])
              << isa_name(e.isa) << " format " << static_cast<int>(format) << " k " << at << " column " << j;
        }
        if (e.emulated || at % 16 == 9) {
          ASSERT_EQ(std::memcmp(y.raw(), z.raw(), static_cast<size_t>(y.bytes())), 0);
        }
      }
    }
  }
}

TEST_F(GemmBlocks, BitsOfTheOracle) {
  Rng rng(11, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (const WeightFormat format : kFormats)
      for (int i = 0; i < (e.emulated ? 4 : 12); ++i) {
        const int64_t sizes[] = {1, 2, 3, 4, 6, 7, 13, 15, 29, 33, 48, 100, 200};
        const int64_t outs[] = {1, 16, 31, 33, 64, 136, 160, 257, 288, 320};
        const int64_t depths[] = {1, 16, 33, 127, 128, 129, 144, 160, 256, 320, 1025, 2300};
        int64_t m = sizes[rng.next_below(13)], n = outs[rng.next_below(10)], k = depths[rng.next_below(12)];
        const int64_t limit = e.emulated ? 60000 : 1500000, unit = k_multiple(format);
        while (m * n * k > limit && (m > 1 || k > unit)) (m > n || k <= unit ? m : k) /= 2;
        k = (k + unit - 1) / unit * unit;
        const bool a_bf16 = rng.next_below(2), c_bf16 = rng.next_below(2), accumulate = rng.next_below(2);
        const WeightPart w = random_weight(rng, format, n, k);
        const Tensor x = random_rows(rng, m, k, a_bf16), bias = random_rows(rng, 1, n, false),
                     start = random_rows(rng, m, n + 3, c_bf16);
        Tensor got = start.clone(), expected = start.clone();
        const GemmOptions options = {e.compute, c_bf16, accumulate};
        Tensor expected_view = expected.slice_columns(0, n), got_view = got.slice_columns(0, n);
        GemmProblem g = problem(x, expected_view);
        if (rng.next_below(2)) g.bias = bias.raw();
        gemm_reference_blocks(g, w, options, e.order);
        const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
        use(g, packed);
        g.c = got_view.raw();
        set_num_threads(1 + static_cast<int>(rng.next_below(3)));
        gemm({&g, 1}, options);
        ASSERT_EQ(std::memcmp(got.raw(), expected.raw(), static_cast<size_t>(got.bytes())), 0)
            << isa_name(e.isa) << " engine " << static_cast<int>(e.engine) << " format " << static_cast<int>(format) << " m "
            << m << " n " << n << " k " << k;
      }
  }
}

// Rows of 16-bit integers (GemmOrder::kWiden over integer codes): the largest sums of every format, rows of zeros, values too
// small for a normal power of two, one far above the others, and what is not finite, which stays in its row.
TEST_F(GemmBlocks, WordsAtTheirLimits) {
  Rng rng(16, RngStream::kTest);
  const int64_t n = 33, m = 9, k = 512;
  for (const GemmEngine& e : gemm_engines()) {
    if (e.order != GemmOrder::kWiden) continue;
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (const WeightFormat format : kFormats) {
      if (!has_integer_codes(format)) continue;
      WeightPart w = random_weight(rng, format, n, k);
      set_extreme_codes(w);
      Tensor x = random_rows(rng, m, k, false), got = Tensor::zeros({m, n}, DType::kF32), expected = got.clone();
      for (int64_t i = 0; i < k; ++i) {
        x.row<float>(0)[i] = i % 2 ? 1.9921875f : -1.9921875f;  // 255 / 128, the longest of bf16
        x.row<float>(1)[i] = 3.984375f;
        x.row<float>(2)[i] = 0;
        x.row<float>(3)[i] *= 0x1p-120f;
        if (i % 32 == 5) x.row<float>(4)[i] = 1000;
        x.row<float>(5)[i] *= 0x1p100f;
      }
      x.row<float>(6)[77] = INFINITY;
      x.row<float>(7)[200] = NAN;
      GemmProblem g = problem(x, expected);
      const GemmOptions options = {e.compute, false, false};
      gemm_reference_blocks(g, w, options, e.order);
      const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
      use(g, packed);
      g.c = got.raw();
      gemm({&g, 1}, options);
      for (int64_t r = 0; r < m; ++r)
        for (int64_t j = 0; j < n; ++j) {
          const float y = got.row<float>(r)[j];
          if (r == 6 || r == 7) {
            ASSERT_TRUE(std::isnan(y) && std::isnan(expected.row<float>(r)[j])) << "row " << r << " column " << j;
            continue;
          }
          ASSERT_EQ(std::memcmp(&y, &expected.row<float>(r)[j], sizeof y), 0)
              << isa_name(e.isa) << " " << weight_format_name(format) << " row " << r << " column " << j;
          ASSERT_TRUE(r != 2 || y == 0.f);
        }
      for (int64_t r = 0; r < 6; ++r) {  // alone, where sums of 4-bit codes are kept otherwise
        const Tensor row = x.slice_rows(r, r + 1);
        Tensor alone = Tensor::zeros({1, n}, DType::kF32);
        GemmProblem h = problem(row, alone);
        use(h, packed);
        gemm({&h, 1}, options);
        ASSERT_EQ(std::memcmp(alone.raw(), expected.row<float>(r), static_cast<size_t>(alone.bytes())), 0)
            << isa_name(e.isa) << " " << weight_format_name(format) << " row " << r << " alone";
      }
    }
  }
}

// What such a row loses: a value more than 2^7 times below the largest of its 32 is rounded to 2^-15 of that one, others as
// bf16 has them. The sum of one k after the other, in double, on what bf16 keeps.
TEST_F(GemmBlocks, WordsAreCloseToTheRow) {
  Rng rng(17, RngStream::kTest);
  const int64_t n = 40, m = 5, k = 512;
  for (const GemmEngine& e : gemm_engines()) {
    if (e.order != GemmOrder::kWiden) continue;
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_1, WeightFormat::kQ6_K}) {
      const WeightPart w = random_part(format, n, k, rng.next_u64(), 0.02f);
      Tensor x = random_rows(rng, m, k, true);
      for (int64_t r = 0; r < m; ++r) x.row<bf16>(r)[rng.next_below(k)] = to_bf16(700.f);
      Tensor got = Tensor::empty({m, n}, DType::kF32);
      GemmProblem g = problem(x, got);
      const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
      use(g, packed);
      gemm({&g, 1}, {e.compute, false, false});
      std::vector<float> row(static_cast<size_t>(k));
      for (int64_t j = 0; j < n; ++j) {
        dequantize_row(w.type, w.values.raw() + j * w.values.dim(1), k, row.data());
        for (int64_t r = 0; r < m; ++r) {
          double sum = 0, lost = 0, size = 0;
          for (int64_t k0 = 0; k0 < k; k0 += 32) {
            double largest = 0;
            for (int64_t i = k0; i < k0 + 32; ++i)
              largest = std::max(largest, std::fabs(static_cast<double>(to_float(x.row<bf16>(r)[i]))));
            for (int64_t i = k0; i < k0 + 32; ++i) {
              const double a = to_float(x.row<bf16>(r)[i]), b = row[static_cast<size_t>(i)];
              sum += a * b, size += std::fabs(a * b);
              if (std::fabs(a) < largest / 128) lost += std::fabs(b) * largest * 0x1p-15;
            }
          }
          EXPECT_NEAR(got.row<float>(r)[j], sum, lost + 4e-6 * size) << weight_format_name(format);
        }
      }
    }
  }
}

TEST_F(GemmBlocks, OneRowHasTheBitsOfMany) {
  Rng rng(12, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    for (const WeightFormat format : kFormats) {
      const int64_t unit = k_multiple(format), m = e.emulated ? 19 : 257, n = e.emulated ? 40 : 200,
                    k = ((e.emulated ? 140 : 720) + unit - 1) / unit * unit;
      const WeightPart w = random_weight(rng, format, n, k);
      const PackedMatrix packed = PackedMatrix::pack({&w, 1}, e.compute);
      const Tensor x = random_rows(rng, m, k, false);
      Tensor all = Tensor::empty({m, n}, DType::kF32);
      GemmProblem g = problem(x, all);
      use(g, packed);
      set_num_threads(1);
      gemm({&g, 1}, {e.compute, false, false});
      for (const int threads : {1, 2, 5})
        for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{7}, int64_t{15}, m}) {
          if (e.emulated && threads > 1) continue;
          set_num_threads(threads);
          Tensor some = Tensor::zeros({rows, n}, DType::kF32);
          const Tensor last = x.slice_rows(m - rows, m);
          GemmProblem h = problem(last, some);
          use(h, packed);
          gemm({&h, 1}, {e.compute, false, false});
          ASSERT_EQ(std::memcmp(some.raw(), all.row<float>(m - rows), static_cast<size_t>(some.bytes())), 0)
              << isa_name(e.isa) << " engine " << static_cast<int>(e.engine) << " format " << static_cast<int>(format)
              << " rows " << rows << " threads " << threads;
        }
    }
  }
}

// Fused parts, rows of a tensor that begin inside a block, and the transpose: each as the oracle of its own part.
TEST_F(GemmBlocks, PartsSlicesAndTransposes) {
  Rng rng(13, RngStream::kTest);
  const int64_t k = 144, m = 5;
  const WeightPart a = random_fp8(rng, 136, k), b = random_fp8(rng, 160, k);
  const Tensor x = random_rows(rng, m, k, false);
  Tensor fused = Tensor::empty({m, 296}, DType::kF32), expected = Tensor::empty({m, 296}, DType::kF32);
  const GemmOptions options = {Compute::kF32, false, false};
  const auto reference = [&](const WeightPart& part, const Tensor& in, Tensor out) {
    GemmProblem g = problem(in, out);
    gemm_reference_blocks(g, part, options, GemmOrder::kF32);
  };
  const auto run = [&](std::span<const WeightPart> parts, const Tensor& in, Tensor& out) {
    const PackedMatrix packed = PackedMatrix::pack(parts, Compute::kF32);
    GemmProblem g = problem(in, out);
    use(g, packed);
    gemm({&g, 1}, options);
  };
  const WeightPart parts[] = {a, b};
  run(parts, x, fused);
  reference(a, x, expected.slice_columns(0, 136));
  reference(b, x, expected.slice_columns(136, 296));
  EXPECT_EQ(std::memcmp(fused.raw(), expected.raw(), static_cast<size_t>(fused.bytes())), 0);

  const auto part_of = [&](int64_t begin, int64_t end, bool transposed) {
    WeightPart part = b;
    part.values = b.values.slice_rows(begin, end), part.first_row = begin, part.transposed = transposed;
    return part;
  };
  const WeightPart slice = part_of(120, 150, false);
  Tensor y = Tensor::empty({m, 30}, DType::kF32), z = Tensor::empty({m, 30}, DType::kF32);
  run({&slice, 1}, x, y);
  reference(slice, x, z);
  EXPECT_EQ(std::memcmp(y.raw(), z.raw(), static_cast<size_t>(y.bytes())), 0);

  const WeightPart transposed = part_of(72, 104, true);
  EXPECT_TRUE(transposed.blocks_fit());
  const Tensor q = random_rows(rng, m, 32, false);
  Tensor u = Tensor::empty({m, k}, DType::kF32), v = Tensor::empty({m, k}, DType::kF32);
  run({&transposed, 1}, q, u);
  reference(transposed, q, v);
  EXPECT_EQ(std::memcmp(u.raw(), v.raw(), static_cast<size_t>(u.bytes())), 0);
  EXPECT_FALSE(part_of(112, 144, true).blocks_fit());
}

// Parts of several formats below each other: a piece each, plain ones too.
TEST_F(GemmBlocks, PartsOfSeveralFormats) {
  Rng rng(15, RngStream::kTest);
  WeightPart plain;
  plain.values = random_rows(rng, 10, 256, false);
  const WeightPart parts[] = {random_weight(rng, WeightFormat::kQ4_K, 40, 256),
                              random_weight(rng, WeightFormat::kQ4_K, 24, 256),
                              random_weight(rng, WeightFormat::kQ6_K, 33, 256), plain};
  const PackedMatrix packed = PackedMatrix::pack(parts, Compute::kF32);
  ASSERT_EQ(packed.pieces().size(), 3u);
  EXPECT_EQ(packed.n(), 107);
  const int64_t begins[] = {0, 64, 97};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(packed.pieces()[i].begin, begins[i]);
  EXPECT_TRUE(packed.computes(Compute::kF32));
  EXPECT_FALSE(packed.computes(Compute::kBF16));
}

TEST_F(GemmBlocks, NanIsNoticed) {
  Rng rng(14, RngStream::kTest);
  WeightPart w = random_fp8(rng, 40, 50);
  EXPECT_FALSE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
  reinterpret_cast<uint8_t*>(w.values.raw())[1777] = 0xff;
  EXPECT_TRUE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
  w = random_fp8(rng, 40, 50);
  w.scales.data<float>()[0] = INFINITY;
  EXPECT_TRUE(PackedMatrix::pack({&w, 1}, Compute::kF32).has_nan());
}

}  // namespace
}  // namespace fathom
