// gemm() against its oracle, bit for bit: every rung of this machine, every engine (through its emulator where the
// instruction is missing), layouts, types, gathers, borders; and independence of M, threads and packing.
#include "kernels/matmul/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/gemm_testing.h"

namespace fathom {
namespace {

struct Operand {
  Tensor memory;
  std::vector<int32_t> rows;
  MatrixView view;
};

// Lanes x k in either layout and type, with a row stride larger than the row, behind a gather where asked for.
Operand random_operand(Rng& rng, int64_t lanes, int64_t k, bool k_contiguous, bool is_bf16, bool gather) {
  Operand o;
  const int64_t rows = k_contiguous ? lanes : k, width = k_contiguous ? k : lanes,
                stride = width + static_cast<int64_t>(rng.next_below(5));
  Tensor values = Tensor::empty({rows + 3, stride}, DType::kF32);
  for (int64_t i = 0; i < values.numel(); ++i) values.data<float>()[i] = rng.next_normal();
  o.memory = is_bf16 ? values.to(DType::kBF16) : values;
  if (gather)
    for (int64_t r = 0; r < rows; ++r) o.rows.push_back(static_cast<int32_t>(rng.next_below(rows + 3)));
  o.view = {o.memory.raw(), stride, nullptr, is_bf16, k_contiguous};
  return o;
}

struct Case {
  int64_t m, n, k;
  bool a_along, b_along, a_bf16, b_bf16, a_gather, b_gather, c_bf16, accumulate;
  int bias;  // 0 none, 1 f32, 2 bf16
};

class Gemm : public GemmTest {};

void run_case(const Case& c, const GemmEngine& e, uint64_t seed) {
  set_isa_for_test(e.isa);
  set_bf16_engine_for_test(e.engine);
  Rng rng(seed, RngStream::kTest);
  Operand a = random_operand(rng, c.m, c.k, c.a_along, c.a_bf16, c.a_gather),
          b = random_operand(rng, c.n, c.k, c.b_along, c.b_bf16, c.b_gather);
  if (c.a_gather) a.view.rows = a.rows.data();
  if (c.b_gather) b.view.rows = b.rows.data();
  Tensor bias32 = Tensor::empty({c.n}, DType::kF32), start32 = Tensor::empty({c.m, c.n + 3}, DType::kF32);
  for (int64_t i = 0; i < c.n; ++i) bias32.data<float>()[i] = rng.next_normal();
  for (int64_t i = 0; i < start32.numel(); ++i) start32.data<float>()[i] = rng.next_normal();
  const Tensor bias = c.bias == 2 ? bias32.to(DType::kBF16) : bias32;
  Tensor got = start32.to(c.c_bf16 ? DType::kBF16 : DType::kF32), expected = got.clone();
  GemmProblem g;
  g.a = a.view, g.b = b.view;
  g.m = c.m, g.n = c.n, g.k = c.k;
  g.ldc = c.n + 3;
  if (c.bias) g.bias = bias.raw(), g.bias_bf16 = c.bias == 2;
  const GemmOptions options = {e.compute, c.c_bf16, c.accumulate};
  g.c = expected.raw();
  gemm_reference(g, options, e.order);
  g.c = got.raw();
  gemm({&g, 1}, options);
  const std::string what = std::string(isa_name(e.isa)) + " engine " + std::to_string(static_cast<int>(e.engine)) +
                           " compute " + std::to_string(static_cast<int>(e.compute)) + " m " + std::to_string(c.m) + " n " +
                           std::to_string(c.n) + " k " + std::to_string(c.k) + " layouts " + std::to_string(c.a_along) +
                           std::to_string(c.b_along);
  ASSERT_EQ(std::memcmp(got.raw(), expected.raw(), got.bytes()), 0) << what;  // the columns beyond n are untouched too
  if (!c.b_along || c.b_gather) return;
  Tensor w = Tensor::wrap(b.memory.raw(), {c.n + 3, b.view.ld}, b.memory.dtype()).slice_rows(0, c.n).slice_columns(0, c.k);
  const PackedMatrix packed = PackedMatrix::pack(w, e.compute);
  g.packed = packed.pieces()[0].data;
  Tensor again = start32.to(c.c_bf16 ? DType::kBF16 : DType::kF32);
  g.c = again.raw();
  gemm({&g, 1}, options);
  ASSERT_EQ(std::memcmp(again.raw(), expected.raw(), again.bytes()), 0) << "packed, " << what;
}

TEST_F(Gemm, BitsOfTheOracle) {
  Rng rng(7, RngStream::kTest);
  for (const GemmEngine& e : gemm_engines())
    for (int i = 0; i < 40; ++i) {
      const auto coin = [&] { return rng.next_below(2) == 1; };
      Case c = {};
      const int64_t sizes[] = {1, 2, 3, 5, 13, 14, 15, 16, 17, 29, 31, 32, 33, 48, 64, 65, 100, 129, 257, 300};
      const int64_t depths[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 100, 255, 256, 257, 320, 511, 1025, 2300};
      c.m = sizes[rng.next_below(20)];
      c.n = sizes[rng.next_below(20)];
      c.k = depths[rng.next_below(19)];
      c.a_along = coin(), c.b_along = coin(), c.a_bf16 = coin(), c.b_bf16 = coin();
      c.a_gather = coin() && coin(), c.b_gather = coin() && coin(), c.c_bf16 = coin(), c.accumulate = coin();
      c.bias = static_cast<int>(rng.next_below(3));
      while (c.m * c.n * c.k > (e.emulated ? 300000 : 1500000)) (c.m > c.n ? c.m : c.n) /= 2;
      run_case(c, e, 100 + i);
      if (HasFatalFailure()) return;
    }
}

// Long k in several super-blocks with many rows, on the default rung.
TEST_F(Gemm, LongK) {
  set_isa_for_test(best_isa());
  const GemmEngine e = {best_isa(), Compute::kBF16, Bf16Engine::kOfRung, gemm_order(Compute::kBF16), false};
  run_case({200, 20, 4100, true, true, false, false, false, false, false, false, 0}, e, 1);
  run_case({200, 20, 4100, false, false, true, false, false, true, true, true, 0}, e, 2);
}

// B larger than the shared scratch: several passes, the same bits as from packed weights.
TEST_F(Gemm, ManyPasses) {
  Rng rng(2, RngStream::kTest);
  const int64_t m = 16, n = 50000, k = 600;
  Operand a = random_operand(rng, m, k, true, false, false);
  Tensor w = Tensor::empty({n, k}, DType::kBF16), c = Tensor::empty({m, n}, DType::kF32),
         d = Tensor::empty({m, n}, DType::kF32);
  for (int64_t i = 0; i < w.numel(); ++i) w.data<bf16>()[i] = to_bf16(static_cast<float>(i * 7919 % 1013) / 500 - 1);
  const PackedMatrix packed = PackedMatrix::pack(w, Compute::kBF16);
  GemmProblem g;
  g.a = a.view, g.b = {w.raw(), k, nullptr, true, true}, g.m = m, g.n = n, g.k = k, g.c = c.raw(), g.ldc = n;
  set_num_threads(3);
  gemm({&g, 1}, {Compute::kBF16, false, false});
  g.c = d.raw(), g.packed = packed.pieces()[0].data;
  gemm({&g, 1}, {Compute::kBF16, false, false});
  EXPECT_EQ(std::memcmp(c.raw(), d.raw(), c.bytes()), 0);
}

TEST_F(Gemm, OneRowHasTheBitsOfMany) {
  for (const GemmEngine& e : gemm_engines()) {
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    const int64_t m = e.emulated ? 37 : 257, n = e.emulated ? 40 : 200, k = e.emulated ? 130 : 700;
    Rng rng(3, RngStream::kTest);
    Operand a = random_operand(rng, m, k, true, false, false), b = random_operand(rng, n, k, true, false, false);
    Tensor w = Tensor::wrap(b.memory.raw(), {n + 3, b.view.ld}, DType::kF32).slice_rows(0, n).slice_columns(0, k);
    const PackedMatrix packed = PackedMatrix::pack(w, e.compute);
    Tensor all = Tensor::empty({m, n}, DType::kF32);
    GemmProblem g;
    g.a = a.view, g.b = b.view, g.m = m, g.n = n, g.k = k, g.c = all.raw(), g.ldc = n;
    set_num_threads(1);
    gemm({&g, 1}, {e.compute, false, false});
    for (int threads : {1, 2, 5})
      for (int64_t rows : {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{7}, m})
        for (bool use_packed : {false, true}) {
          set_num_threads(threads);
          Tensor some = Tensor::zeros({rows, n}, DType::kF32);
          const int64_t first = m - rows;
          GemmProblem h = g;
          h.a.data = a.memory.data<float>() + first * a.view.ld;
          h.m = rows;
          h.c = some.raw();
          h.packed = use_packed ? packed.pieces()[0].data : nullptr;
          gemm({&h, 1}, {e.compute, false, false});
          ASSERT_EQ(std::memcmp(some.raw(), all.row<float>(first), some.bytes()), 0)
              << isa_name(e.isa) << " engine " << static_cast<int>(e.engine) << " rows " << rows << " threads " << threads
              << " packed " << use_packed;
        }
  }
}

TEST_F(Gemm, FloatsHaveTheSameBitsOnEveryRung) {
  Rng rng(5, RngStream::kTest);
  const int64_t m = 19, n = 70, k = 300;
  Operand a = random_operand(rng, m, k, true, false, false), b = random_operand(rng, n, k, false, true, false);
  for (Compute compute : {Compute::kF32, Compute::kBF16}) {
    Tensor first;
    for (Isa isa : supported_isas()) {
      set_isa_for_test(isa);
      set_bf16_engine_for_test(Bf16Engine::kWiden);
      Tensor c = Tensor::empty({m, n}, DType::kF32);
      GemmProblem g;
      g.a = a.view, g.b = b.view, g.m = m, g.n = n, g.k = k, g.c = c.raw(), g.ldc = n;
      gemm({&g, 1}, {compute, false, false});
      if (!first.defined()) first = c;
      EXPECT_EQ(std::memcmp(c.raw(), first.raw(), c.bytes()), 0) << isa_name(isa);
    }
  }
}

// bf16 by integers (GemmOrder::kWiden): the largest sums, zeros, values too small for a normal power of two, one far above the
// others, and what is not finite, which stays in its row and its column. Both layouts of both sides, packed and not.
TEST_F(Gemm, IntegersAtTheirLimits) {
  Rng rng(11, RngStream::kTest);
  const int64_t lanes = 35, k = 300;
  Tensor along = Tensor::empty({lanes, k}, DType::kF32), across = Tensor::empty({k, lanes}, DType::kF32);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t r = 0; r < lanes; ++r) {
      float x = rng.next_normal();
      if (r == 0) x = i % 2 ? 1.9921875f : -1.9921875f;  // 255 / 128, the longest of bf16
      if (r == 1) x = 3.984375f;
      if (r == 2) x = 0;
      if (r == 3) x *= 0x1p-120f;
      if (r == 4 && i % 32 == 5) x = 1000;
      if (r == 5) x *= 0x1p60f;
      if (r == 6 && i == 77) x = INFINITY;
      if (r == 7 && i == 299) x = NAN;
      if (r == 17 && i < 32) x = -INFINITY;
      along.row<float>(r)[i] = across.row<float>(i)[r] = x;
    }
  const PackedMatrix* none = nullptr;
  for (const GemmEngine& e : gemm_engines()) {
    if (e.order != GemmOrder::kWiden) continue;
    set_isa_for_test(e.isa);
    set_bf16_engine_for_test(e.engine);
    const PackedMatrix packed = PackedMatrix::pack(along, Compute::kBF16);
    for (const int64_t m : {int64_t{1}, int64_t{2}, lanes})
      for (const bool a_along : {true, false})
        for (const auto& [b_along, p] : {std::pair{true, none}, {false, none}, {true, &packed}}) {
          Tensor got = Tensor::zeros({m, lanes}, DType::kF32), expected = got.clone();
          GemmProblem g;
          g.a = {a_along ? along.raw() : across.raw(), a_along ? k : lanes, nullptr, false, a_along};
          g.b = {b_along ? along.raw() : across.raw(), b_along ? k : lanes, nullptr, false, b_along};
          g.m = m, g.n = lanes, g.k = k, g.c = expected.raw(), g.ldc = lanes;
          const GemmOptions options = {Compute::kBF16, false, false};
          gemm_reference(g, options, e.order);
          if (p) use(g, *p);
          g.c = got.raw();
          gemm({&g, 1}, options);
          for (int64_t r = 0; r < m; ++r)
            for (int64_t j = 0; j < lanes; ++j) {
              const float y = got.row<float>(r)[j], z = expected.row<float>(r)[j];
              const auto bad = [](int64_t i) { return i == 6 || i == 7 || i == 17; };
              ASSERT_EQ(std::isnan(y), bad(r) || bad(j)) << isa_name(e.isa) << " row " << r << " column " << j;
              ASSERT_TRUE(std::isnan(y) ? std::isnan(z) : std::memcmp(&y, &z, sizeof y) == 0)
                  << isa_name(e.isa) << " row " << r << " column " << j << ": " << y << " instead of " << z;
            }
        }
  }
}

TEST_F(Gemm, CloseToTheExactSum) {
  Rng rng(9, RngStream::kTest);
  const int64_t m = 9, n = 35, k = 777;
  Operand a = random_operand(rng, m, k, true, false, false), b = random_operand(rng, n, k, true, false, false);
  Tensor c = Tensor::empty({m, n}, DType::kF32);
  GemmProblem g;
  g.a = a.view, g.b = b.view, g.m = m, g.n = n, g.k = k, g.c = c.raw(), g.ldc = n;
  for (Compute compute : {Compute::kF32, Compute::kBF16}) {
    gemm({&g, 1}, {compute, false, false});
    // Normal operands: a product's rounding error is about 2^-9 sqrt(2) (bf16) or the chain's k 2^-24 (f32) of its size,
    // and k of them add up like a random walk; 6 sigma.
    const double sigma = std::sqrt(static_cast<double>(k));
    const double tolerance = compute == Compute::kF32 ? 6 * sigma * 777 / (1 << 24) : 6 * sigma * 1.5 / 512;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) EXPECT_NEAR(c.row<float>(i)[j], gemm_exact(g, i, j), tolerance);
  }
}

}  // namespace
}  // namespace fathom
