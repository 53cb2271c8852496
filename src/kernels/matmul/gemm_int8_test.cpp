// Rows of int8 by weights that were packed for them: gemm() against its oracle bit for bit on every rung and on emulated AMX
// tiles; one row has the bits of many; fused parts, gathered rows.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul/gemm_testing.h"
#include "kernels/matmul/int8_rows.h"
#include "kernels/matmul/random_part.h"
#include "tensor/format/ggml_type.h"

namespace fathom {
namespace {

class GemmInt8 : public GemmTest {};

constexpr WeightFormat kInt8Formats[] = {WeightFormat::kInt8Row, WeightFormat::kQ8_0,        WeightFormat::kQ4_0,
                                         WeightFormat::kQ4_1,    WeightFormat::kQ5_0,        WeightFormat::kQ4_K,
                                         WeightFormat::kQ6_K,    WeightFormat::kInt4Group32, WeightFormat::kInt4Group128};

struct Int8Engine {
  Isa isa;
  bool tiles;
  bool slow() const { return isa == Isa::kPortable || (tiles && isa != Isa::kAmx); }
};
std::vector<Int8Engine> int8_engines() {
  std::vector<Int8Engine> all;
  for (const Isa isa : supported_isas())
    for (const bool tiles : {false, true})
      if (!tiles || isa != Isa::kAvx2) all.push_back({isa, tiles});  // avx2 would take portable's
  return all;
}
void use(const Int8Engine& e) {
  set_isa_for_test(e.isa);
  set_bf16_engine_for_test(e.tiles ? Bf16Engine::kTiles : Bf16Engine::kOfRung);
}

// Rows for `format` with codes of any value that the quantiser makes, by themselves: -127 to 127; `extreme`: only the two, some
// groups of one sign.
Int8Rows random_int8_rows(Rng& rng, WeightFormat format, int64_t m, int64_t k, bool extreme = false) {
  const int64_t group = int8_layout(format).group;
  Int8Rows q;
  q.rows = m, q.k = k;
  q.codes(format) = Tensor::zeros({m, int8_row_bytes(k)}, DType::kI8);
  for (int64_t r = 0; r < m; ++r) {
    int8_t* codes = reinterpret_cast<int8_t*>(q.codes(format).raw()) + r * q.codes(format).row_stride();
    for (int64_t k0 = 0; k0 < k; k0 += group) {
      int32_t sum = 0, half = 0;
      for (int64_t i = k0; i < std::min(k, k0 + group); ++i) {
        const int code = extreme ? (rng.next_below(8) && k0 % 256 ? 127
                                    : k0 % 512                    ? -127
                                                                  : 127)
                                 : static_cast<int>(rng.next_below(255)) - 127;
        codes[int8_code_at(i)] = static_cast<int8_t>(code);
        sum += code;
        if (i < k0 + group / 2) half += code;
      }
      const float scale = std::fabs(rng.next_normal()) * 0.01f;
      for (int64_t i = k0; i < std::min(k, k0 + group); i += 32) {
        std::memcpy(codes + int8_sum_at(i), &sum, 4);
        std::memcpy(codes + int8_half_sum_at(i), &half, 4);
        std::memcpy(codes + int8_scale_at(i), &scale, 4);
      }
    }
  }
  return q;
}
GemmProblem problem(const Int8Rows& x, WeightFormat format, Tensor& y) {
  GemmProblem g;
  g.a = {x.codes(format).raw(), x.codes(format).row_stride(), nullptr, false, true};
  g.a_int8 = true;
  g.m = x.rows, g.k = x.k, g.n = y.dim(1);
  g.c = y.raw(), g.ldc = y.row_stride();
  return g;
}
PackedMatrix pack(const WeightPart& w) { return PackedMatrix::pack({&w, 1}, Compute::kBF16, Activations::kInt8); }
std::string where(const Int8Engine& e, WeightFormat format) {
  return std::string(isa_name(e.isa)) + (e.tiles ? " tiles " : " ") + std::string(weight_format_name(format));
}

TEST_F(GemmInt8, BitsOfTheOracle) {
  Rng rng(21, RngStream::kTest);
  for (const Int8Engine& e : int8_engines()) {
    use(e);
    for (const WeightFormat format : kInt8Formats)
      for (int i = 0; i < (e.slow() ? 6 : 20); ++i) {
        const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 13, 15, 29, 33, 100, 200};
        const int64_t outs[] = {1, 16, 31, 33, 64, 136, 160, 257, 320};
        const int64_t depths[] = {1, 32, 33, 64, 96, 128, 160, 512, 544, 1056, 2304, 5000};
        int64_t m = sizes[rng.next_below(13)], n = outs[rng.next_below(9)], k = depths[rng.next_below(12)];
        const int64_t limit = e.slow() ? 100000 : 3000000, unit = k_multiple(format);
        while (m * n * k > limit && (m > 1 || k > unit)) (m > n || k <= unit ? m : k) /= 2;
        k = (k + unit - 1) / unit * unit;
        const bool c_bf16 = rng.next_below(2), accumulate = rng.next_below(2);
        const WeightPart w = random_part(format, n, k, rng.next_u64(), 0.02f, 2.f);
        const Int8Rows x = random_int8_rows(rng, format, m, k);
        Tensor start = Tensor::empty({m, n + 3}, DType::kF32), bias = Tensor::empty({n}, DType::kF32);
        for (Tensor* t : {&start, &bias})
          for (int64_t j = 0; j < t->numel(); ++j) t->data<float>()[j] = rng.next_normal();
        if (c_bf16) start = start.to(DType::kBF16);
        Tensor got = start.clone(), expected = start.clone();
        Tensor expected_view = expected.slice_columns(0, n), got_view = got.slice_columns(0, n);
        const GemmOptions options = {Compute::kBF16, c_bf16, accumulate};
        GemmProblem g = problem(x, format, expected_view);
        if (rng.next_below(2)) g.bias = bias.raw();
        std::vector<int32_t> gather;
        for (int64_t r = 0; r < m; ++r) gather.push_back(static_cast<int32_t>((r * 7 + 3) % m));
        if (rng.next_below(2)) g.a.rows = gather.data();
        gemm_reference_int8(g, w, options);
        const PackedMatrix packed = pack(w);
        use(g, packed);
        g.c = got_view.raw();
        set_num_threads(1 + static_cast<int>(rng.next_below(3)));
        gemm({&g, 1}, options);
        ASSERT_EQ(std::memcmp(got.raw(), expected.raw(), static_cast<size_t>(got.bytes())), 0)
            << where(e, format) << " m " << m << " n " << n << " k " << k;
      }
  }
}

// The largest sums: what saturates or overflows where an instruction or a compensation is chosen wrongly.
TEST_F(GemmInt8, ExtremesAreExact) {
  Rng rng(22, RngStream::kTest);
  for (const Int8Engine& e : int8_engines()) {
    use(e);
    for (const WeightFormat format : kInt8Formats)
      for (const int64_t m : {1, 9, 17}) {
        const int64_t n = 32, k = e.slow() ? 1024 : 9216;
        WeightPart w = random_part(format, n, k, rng.next_u64());
        set_extreme_codes(w);
        const Int8Rows x = random_int8_rows(rng, format, m, k, true);
        Tensor got = Tensor::empty({m, n}, DType::kF32), want = got.clone();
        GemmProblem g = problem(x, format, want);
        gemm_reference_int8(g, w, {});
        const PackedMatrix packed = pack(w);
        use(g, packed);
        g.c = got.raw();
        gemm({&g, 1}, {});
        ASSERT_EQ(std::memcmp(got.raw(), want.raw(), static_cast<size_t>(got.bytes())), 0) << where(e, format) << " m " << m;
      }
  }
}

TEST_F(GemmInt8, OneRowHasTheBitsOfManyOnEveryRung) {
  Rng rng(23, RngStream::kTest);
  for (const WeightFormat format : kInt8Formats) {
    const int64_t m = 257, n = 72, k = k_multiple(format) > 32 ? 1280 : 1120;
    const WeightPart w = random_part(format, n, k, rng.next_u64());
    const Int8Rows x = random_int8_rows(rng, format, m, k);
    Tensor first;  // of the first engine: integers are the same on all of them
    for (const Int8Engine& e : int8_engines()) {
      use(e);
      const PackedMatrix packed = pack(w);
      set_num_threads(1);
      Tensor all = Tensor::empty({m, n}, DType::kF32);
      GemmProblem g = problem(x, format, all);
      use(g, packed);
      gemm({&g, 1}, {});
      if (!first.defined()) first = all.clone();
      ASSERT_EQ(std::memcmp(all.raw(), first.raw(), static_cast<size_t>(all.bytes())), 0) << where(e, format);
      for (const int threads : {1, 2, 5})
        for (const int64_t rows : {1, 2, 3, 4, 7, 15}) {
          if (e.slow() && threads > 1) continue;
          set_num_threads(threads);
          Tensor some = Tensor::zeros({rows, n}, DType::kF32);
          std::vector<int32_t> last;
          for (int64_t r = m - rows; r < m; ++r) last.push_back(static_cast<int32_t>(r));
          GemmProblem h = problem(x, format, some);
          h.a.rows = last.data(), h.m = rows;
          use(h, packed);
          gemm({&h, 1}, {});
          ASSERT_EQ(std::memcmp(some.raw(), all.row<float>(m - rows), static_cast<size_t>(some.bytes())), 0)
              << where(e, format) << " rows " << rows << " threads " << threads;
        }
    }
  }
}

}  // namespace
}  // namespace fathom
