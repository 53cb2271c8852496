#include "ops/matmul/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "backend/cpu/isa.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "ops/matmul/matmul_case.h"
#include "ops/matmul/matmul_ref.h"

namespace fathom {
namespace {

Tensor random_tensor(uint64_t seed, Shape shape, DType dtype = DType::kF32) {
  Tensor t = Tensor::empty(shape, DType::kF32);
  Rng rng(seed, RngStream::kTest);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = rng.next_normal();
  return dtype == DType::kF32 ? t : t.to(dtype);
}
Matrix matrix(const Tensor& t) {  // rank 2, any row stride
  const Tensor f = t.to(DType::kF32);
  return Matrix(f.data<float>(), f.data<float>() + f.numel());
}
// Sums of `depth` products of standard normals: rounding of operands (bf16: 2^-9 each) and of the f32 chain, 6 sigma and one
// product of two values of 4; and of a bf16 result (2^-9 of its size).
double tolerance(Compute compute, int64_t depth, bool bf16_out = false) {
  const double sigma = std::sqrt(static_cast<double>(depth));
  const double operands = compute == Compute::kBF16 ? (6 * sigma * std::sqrt(2.0) + 32) / 512 : 0;
  return operands + 6 * sigma * static_cast<double>(depth + 1) / (1 << 24) + (bf16_out ? 6 * sigma / 256 : 0) + 1e-6;
}
void expect_close(const Tensor& got, const Matrix& want, double tol, const char* what) {
  const Matrix g = matrix(got);
  ASSERT_EQ(g.size(), want.size());
  for (size_t i = 0; i < g.size(); ++i) ASSERT_NEAR(g[i], want[i], tol) << what << " element " << i;
}
bool same_bits(const Tensor& a, const Tensor& b) {
  for (int64_t i = 0; i < a.rows(); ++i)
    if (std::memcmp(a.raw() + i * a.row_stride() * dtype_bytes(a.dtype()),
                    b.raw() + i * b.row_stride() * dtype_bytes(b.dtype()), a.row_size() * dtype_bytes(a.dtype())) != 0)
      return false;
  return true;
}

class Matmul : public ::testing::Test {
 protected:
  void SetUp() override { flush_denormals(); }
  void TearDown() override {
    set_isa_for_test(best_isa());
    set_num_threads(2);
  }
};

// The reference's gradients are the derivatives of its forward: central differences of sum(c * y).
TEST_F(Matmul, ReferenceGradients) {
  const int64_t m = 3, n = 4, k = 5;
  Matrix x = matrix(random_tensor(1, {m, k})), w = matrix(random_tensor(2, {n, k})), b = matrix(random_tensor(3, {1, n}));
  const Matrix dy = matrix(random_tensor(4, {m, n}));
  const auto loss = [&] {
    const Matrix y = matmul_forward_ref(x, w, b, m, n, k);
    return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  };
  const auto check = [&](Matrix& variable, const Matrix& gradient) {
    ASSERT_EQ(variable.size(), gradient.size());
    for (size_t i = 0; i < variable.size(); ++i) {
      const double old = variable[i], h = 1e-4;
      variable[i] = old + h;
      const double up = loss();
      variable[i] = old - h;
      const double down = loss();
      variable[i] = old;
      EXPECT_NEAR((up - down) / (2 * h), gradient[i], 1e-8);
    }
  };
  check(x, matmul_backward_input_ref(dy, w, m, n, k));
  check(w, matmul_backward_weight_ref(dy, x, m, n, k));
  Matrix db(n, 0.0);
  for (int64_t i = 0; i < m * n; ++i) db[i % n] += dy[i];
  check(b, db);
}

TEST_F(Matmul, AllRolesOnEveryRung) {
  for (Isa isa : supported_isas())
    for (Compute compute : {Compute::kF32, Compute::kBF16})
      for (DType dtype : {DType::kF32, DType::kBF16}) {
        set_isa_for_test(isa);
        const bool small = isa == Isa::kPortable;
        const int64_t m = small ? 17 : 61, n = small ? 35 : 131, k = small ? 41 : 83;
        // Column slices of wider tensors: row-strided everywhere.
        const Tensor x = random_tensor(1, {m, k + 9}, dtype).slice_columns(4, 4 + k), w = random_tensor(2, {n, k}, dtype);
        const Tensor dy = random_tensor(3, {m, n + 5}, dtype).slice_columns(2, 2 + n), b = random_tensor(4, {n}, dtype);
        const Matrix xm = matrix(x), wm = matrix(w), dym = matrix(dy), bm = matrix(b.view({1, n}));
        for (DType out : {DType::kF32, DType::kBF16}) {
          Tensor wide = Tensor::zeros({m, n + 7}, out), y = wide.slice_columns(3, 3 + n);
          matmul_forward(x, {w}, &b, compute, y);
          expect_close(y, matmul_forward_ref(xm, wm, bm, m, n, k), tolerance(compute, k, out == DType::kBF16), "forward");
          const PackedMatrix packed = PackedMatrix::pack(w, compute);
          Tensor again = Tensor::zeros({m, n}, out);
          matmul_forward(x, {Tensor(), &packed}, &b, compute, again);
          EXPECT_TRUE(same_bits(y, again));
          Tensor dx = random_tensor(5, {m, k}, out);
          Matrix expected = matmul_backward_input_ref(dym, wm, m, n, k);
          const Matrix old = matrix(dx);
          Tensor added = dx.clone();
          matmul_backward_input(dy, {w}, compute, false, dx);
          expect_close(dx, expected, tolerance(compute, n, out == DType::kBF16), "backward_input");
          matmul_backward_input(dy, {w}, compute, true, added);
          for (size_t i = 0; i < expected.size(); ++i) expected[i] += old[i];
          expect_close(added, expected, tolerance(compute, n, out == DType::kBF16), "backward_input +=");
        }
        Tensor dw = random_tensor(6, {n, k});
        Matrix expected = matmul_backward_weight_ref(dym, xm, m, n, k);
        Tensor added = dw.clone();
        const Matrix old = matrix(dw);
        matmul_backward_weight(dy, x, compute, false, dw);
        expect_close(dw, expected, tolerance(compute, m), "backward_weight");
        matmul_backward_weight(dy, x, compute, true, added);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += old[i];
        expect_close(added, expected, tolerance(compute, m), "backward_weight +=");
        Tensor db = Tensor::zeros({n}, DType::kF32);
        bias_backward(dy, false, db);
        bias_backward(dy, true, db);
        Matrix sums(n, 0.0);
        for (int64_t i = 0; i < m * n; ++i) sums[i % n] += 2 * dym[i];
        expect_close(db.view({1, n}), sums, 1e-3, "bias");
      }
}

// The shared list of shapes, each role against the reference in double.
TEST_F(Matmul, Cases) {
  for (const MatmulCase& c : matmul_test_cases()) {
    SCOPED_TRACE(std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) + " experts " +
                 std::to_string(c.experts) + " role " + std::to_string(static_cast<int>(c.role)));
    const int64_t experts = std::max<int64_t>(1, c.experts);
    std::vector<int32_t> offsets(experts + 1);
    for (int64_t e = 0; e <= experts; ++e) offsets[e] = static_cast<int32_t>(c.m * e * e / (experts * experts));  // uneven
    const Tensor x = random_tensor(1, {c.m, c.k}, c.activations), dy = random_tensor(2, {c.m, c.n}, c.activations),
                 w = random_tensor(3, {experts, c.n, c.k});
    Tensor y = Tensor::empty({c.m, c.n}, DType::kF32), dx = Tensor::empty({c.m, c.k}, DType::kF32),
           dw = Tensor::empty({experts, c.n, c.k}, DType::kF32);
    std::vector<PackedMatrix> packed;
    for (int64_t e = 0; e < experts; ++e) packed.push_back(PackedMatrix::pack(w.index(e), c.compute));
    const GroupedRows groups = {offsets};
    const GroupedWeight gw = {w, c.role == MatmulRole::kForwardPacked ? packed.data() : nullptr};
    if (c.experts) {
      grouped_matmul_forward(x, groups, gw, c.compute, y);
      grouped_matmul_backward_input(dy, groups, gw, c.compute, dx);
      grouped_matmul_backward_weight(dy, x, groups, c.compute, false, dw);
    } else {
      Tensor one = dw.index(0);
      matmul_forward(x, {w.index(0), gw.packed}, nullptr, c.compute, y);
      matmul_backward_input(dy, {w.index(0)}, c.compute, false, dx);
      matmul_backward_weight(dy, x, c.compute, false, one);
    }
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t begin = offsets[e], end = offsets[e + 1], m = end - begin;
      if (m == 0) continue;
      const Matrix xe = matrix(x.slice_rows(begin, end)), dye = matrix(dy.slice_rows(begin, end)), we = matrix(w.index(e));
      expect_close(y.slice_rows(begin, end), matmul_forward_ref(xe, we, {}, m, c.n, c.k), tolerance(c.compute, c.k), "forward");
      expect_close(dx.slice_rows(begin, end), matmul_backward_input_ref(dye, we, m, c.n, c.k), tolerance(c.compute, c.n),
                   "backward_input");
      expect_close(dw.index(e), matmul_backward_weight_ref(dye, xe, m, c.n, c.k), tolerance(c.compute, m), "backward_weight");
    }
  }
}

// Experts with uneven and empty groups, rows gathered out of order and more than once: each group has the bits of a
// single product over its rows.
TEST_F(Matmul, GroupedHasTheBitsOfSingle) {
  for (Isa isa : supported_isas())
    for (Compute compute : {Compute::kF32, Compute::kBF16})
      for (int threads : {1, 3}) {
        set_isa_for_test(isa);
        set_num_threads(threads);
        const int64_t tokens = 40, n = 50, k = 37, experts = 5;
        const std::vector<int32_t> offsets = {0, 0, 33, 34, 34, 62};
        const int64_t routed = offsets.back();
        std::vector<int32_t> rows(routed);
        Rng rng(8, RngStream::kTest);
        for (auto& r : rows) r = static_cast<int32_t>(rng.next_below(tokens));
        const Tensor x = random_tensor(1, {tokens, k}, DType::kBF16), w = random_tensor(2, {experts, n, k});
        const Tensor dy = random_tensor(3, {routed, n}, DType::kBF16);
        Tensor gathered = Tensor::empty({routed, k}, DType::kBF16);
        for (int64_t r = 0; r < routed; ++r) std::memcpy(gathered.row<bf16>(r), x.row<bf16>(rows[r]), k * sizeof(bf16));
        const GroupedRows groups = {offsets, rows.data()}, plain = {offsets};

        Tensor y = Tensor::zeros({routed, n}, DType::kBF16), y_packed = y.clone(), y_plain = y.clone(), y_single = y.clone();
        grouped_matmul_forward(x, groups, {w}, compute, y);
        grouped_matmul_forward(gathered, plain, {w}, compute, y_plain);
        std::vector<PackedMatrix> packed;
        for (int64_t e = 0; e < experts; ++e) packed.push_back(PackedMatrix::pack(w.index(e), compute));
        grouped_matmul_forward(x, groups, {Tensor(), packed.data()}, compute, y_packed);
        Tensor dx = Tensor::zeros({routed, k}, DType::kF32), dx_single = dx.clone();
        grouped_matmul_backward_input(dy, groups, {w}, compute, dx);
        for (bool accumulate : {false, true}) {
          Tensor dw = random_tensor(9, {experts, n, k}), dw_single = dw.clone();
          grouped_matmul_backward_weight(dy, x, groups, compute, accumulate, dw);
          for (int64_t e = 0; e < experts; ++e) {
            Tensor one = dw_single.index(e);
            matmul_backward_weight(dy.slice_rows(offsets[e], offsets[e + 1]), gathered.slice_rows(offsets[e], offsets[e + 1]),
                                   compute, accumulate, one);
          }
          EXPECT_TRUE(same_bits(dw, dw_single));
        }
        for (int64_t e = 0; e < experts; ++e) {
          Tensor part = y_single.slice_rows(offsets[e], offsets[e + 1]),
                 dpart = dx_single.slice_rows(offsets[e], offsets[e + 1]);
          matmul_forward(gathered.slice_rows(offsets[e], offsets[e + 1]), {w.index(e)}, nullptr, compute, part);
          matmul_backward_input(dy.slice_rows(offsets[e], offsets[e + 1]), {w.index(e)}, compute, false, dpart);
        }
        EXPECT_TRUE(same_bits(y, y_single));
        EXPECT_TRUE(same_bits(y_plain, y_single));
        EXPECT_TRUE(same_bits(y_packed, y_single));
        EXPECT_TRUE(same_bits(dx, dx_single));
      }
}

// The bits of a gradient do not depend on the number of threads, nor do those of a large product.
TEST_F(Matmul, ThreadsDoNotChangeBits) {
  const int64_t m = 777, n = 300, k = 520;
  const Tensor x = random_tensor(1, {m, k}), w = random_tensor(2, {n, k}), dy = random_tensor(3, {m, n});
  std::vector<Tensor> ys, dxs, dws;
  for (int threads : {1, 2, 7}) {
    set_num_threads(threads);
    Tensor y = Tensor::empty({m, n}, DType::kF32), dx = Tensor::empty({m, k}, DType::kF32),
           dw = Tensor::empty({n, k}, DType::kF32);
    matmul_forward(x, {w}, nullptr, Compute::kBF16, y);
    matmul_backward_input(dy, {w}, Compute::kBF16, false, dx);
    matmul_backward_weight(dy, x, Compute::kBF16, false, dw);
    ys.push_back(y), dxs.push_back(dx), dws.push_back(dw);
  }
  for (int i = 1; i < 3; ++i) {
    EXPECT_TRUE(same_bits(ys[0], ys[i]));
    EXPECT_TRUE(same_bits(dxs[0], dxs[i]));
    EXPECT_TRUE(same_bits(dws[0], dws[i]));
  }
}

// No rows at all: nothing to write, and a weight gradient of zero.
TEST_F(Matmul, Empty) {
  const Tensor x = Tensor::empty({0, 8}, DType::kF32), w = random_tensor(1, {5, 8}), dy = Tensor::empty({0, 5}, DType::kF32);
  Tensor y = Tensor::empty({0, 5}, DType::kF32), dx = Tensor::empty({0, 8}, DType::kF32), dw = random_tensor(2, {5, 8});
  const Tensor before = dw.clone();
  matmul_forward(x, {w}, nullptr, Compute::kBF16, y);
  matmul_backward_input(dy, {w}, Compute::kBF16, false, dx);
  matmul_backward_weight(dy, x, Compute::kBF16, true, dw);
  EXPECT_TRUE(same_bits(dw, before));
  matmul_backward_weight(dy, x, Compute::kBF16, false, dw);
  for (int64_t i = 0; i < dw.numel(); ++i) EXPECT_EQ(dw.data<float>()[i], 0.f);
}

// dy_rows: the gradient of combine, gathered on packing, has the bits of a gathered copy.
TEST_F(Matmul, GroupedBackwardGathersDy) {
  const int64_t tokens = 37, routed = 74, n = 21, k = 19, experts = 4;
  const std::vector<int32_t> offsets = {0, 40, 40, 57, 74};
  std::vector<int32_t> rows(routed);
  for (int64_t r = 0; r < routed; ++r) rows[r] = static_cast<int32_t>(r * 29 % tokens);
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const Tensor dy = random_tensor(1, {tokens, n}), x = random_tensor(2, {routed, k}), w = random_tensor(3, {experts, n, k});
    Tensor copy = Tensor::empty({routed, n}, DType::kF32);
    for (int64_t r = 0; r < routed; ++r) copy.slice_rows(r, r + 1).copy_from(dy.slice_rows(rows[r], rows[r] + 1));
    Tensor dx = Tensor::empty({routed, k}, DType::kF32), dx_copy = Tensor::empty({routed, k}, DType::kF32);
    grouped_matmul_backward_input(dy, {offsets, nullptr, rows.data()}, {w}, compute, dx);
    grouped_matmul_backward_input(copy, {offsets}, {w}, compute, dx_copy);
    EXPECT_TRUE(same_bits(dx, dx_copy));
    Tensor dw = Tensor::empty({experts, n, k}, DType::kF32), dw_copy = Tensor::empty({experts, n, k}, DType::kF32);
    grouped_matmul_backward_weight(dy, x, {offsets, nullptr, rows.data()}, compute, false, dw);
    grouped_matmul_backward_weight(copy, x, {offsets}, compute, false, dw_copy);
    EXPECT_TRUE(same_bits(dw, dw_copy));
  }
}

}  // namespace
}  // namespace fathom
