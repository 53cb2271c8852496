#include "ops/matmul/matmul.h"

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/gemm.h"

namespace fathom {
namespace {

bool is_float(const Tensor& t) { return t.dtype() == DType::kF32 || t.dtype() == DType::kBF16; }
bool is_bf16(const Tensor& t) { return t.dtype() == DType::kBF16; }

// A matrix as stored: lanes are its rows, k runs inside (A of forward), or the transpose: k are its rows.
MatrixView by_rows(const Tensor& t, const int32_t* rows = nullptr) { return {t.raw(), t.row_stride(), rows, is_bf16(t), true}; }
MatrixView by_columns(const Tensor& t, const int32_t* rows = nullptr) {
  return {t.raw(), t.row_stride(), rows, is_bf16(t), false};
}

const void* element(const Tensor& t, int64_t row) { return t.raw() + row * t.row_stride() * dtype_bytes(t.dtype()); }
void* element(Tensor& t, int64_t row) { return t.raw() + row * t.row_stride() * dtype_bytes(t.dtype()); }

void check_packed(const PackedMatrix& p, int64_t n, int64_t k, bool int8) {
  CHECK(p.defined());
  CHECK((p.activations() == Activations::kInt8) == int8);
  CHECK_EQ(p.n(), n);
  CHECK_EQ(p.k(), k);
}
// The products of a packed weight: one a piece, each with its columns of C and of the bias. `int8`: A from its `row` on, in
// the groups that a piece's format wants; null: whole.a.
void add_packed(const GemmProblem& whole, const PackedMatrix& packed, const Int8Rows* int8, int64_t row, bool c_bf16,
                std::vector<GemmProblem>& problems) {
  for (const PackedMatrix::Piece& piece : packed.pieces()) {
    GemmProblem g = whole;
    if (int8) {
      const Tensor& codes = int8->codes(piece.format);
      CHECK(codes.defined());
      g.a = {codes.raw() + row * codes.row_stride(), codes.row_stride(), whole.a.rows, false, true};
      g.a_int8 = true;
    }
    g.packed = piece.data;
    g.packed_format = piece.format;
    g.n = piece.n;
    g.c = static_cast<std::byte*>(whole.c) + piece.begin * (c_bf16 ? 2 : 4);
    if (whole.bias) g.bias = static_cast<const std::byte*>(whole.bias) + piece.begin * (whole.bias_bf16 ? 2 : 4);
    problems.push_back(g);
  }
}
void check_groups(const GroupedRows& groups, int64_t experts, int64_t routed) {
  CHECK_EQ(groups.offsets.size(), experts + 1);
  CHECK_EQ(groups.offsets.front(), 0);
  CHECK_EQ(groups.offsets.back(), routed);
  for (int64_t e = 0; e < experts; ++e) CHECK(groups.offsets[e] <= groups.offsets[e + 1]);
}

// Reused from call to call: one call at a time a thread.
std::vector<GemmProblem>& problem_list() {
  thread_local std::vector<GemmProblem> problems;
  problems.clear();
  return problems;
}

// g holds A of `rows` rows and its width k; `int8`: A is there instead.
void forward(GemmProblem g, const Int8Rows* int8, const MatmulWeight& w, const Tensor* bias, Compute compute, Tensor& y) {
  CHECK(y.rank() == 2 && is_float(y));
  CHECK_EQ(y.dim(0), g.m);
  g.n = y.dim(1);
  if (w.packed) {
    CHECK(int8 || w.packed->computes(compute));
    check_packed(*w.packed, g.n, g.k, int8 != nullptr);
  } else {
    CHECK(w.values.rank() == 2 && is_float(w.values));
    CHECK_EQ(w.values.dim(0), g.n);
    CHECK_EQ(w.values.dim(1), g.k);
    g.b = by_rows(w.values);
  }
  if (bias) {
    CHECK(is_float(*bias));
    CHECK_EQ(bias->numel(), g.n);
    g.bias = bias->raw();
    g.bias_bf16 = is_bf16(*bias);
  }
  g.c = y.raw(), g.ldc = y.row_stride();
  auto& problems = problem_list();
  if (w.packed)
    add_packed(g, *w.packed, int8, 0, is_bf16(y), problems);
  else
    problems.push_back(g);
  gemm(problems, {compute, is_bf16(y), false});
}

// The groups' products, of x or of `int8`.
void grouped_forward(const Tensor* x, const Int8Rows* int8, int64_t k, const GroupedRows& groups, const GroupedWeight& w,
                     Compute compute, Tensor& y) {
  CHECK(y.rank() == 2 && is_float(y));
  const int64_t experts = static_cast<int64_t>(groups.offsets.size()) - 1, n = y.dim(1);
  check_groups(groups, experts, y.dim(0));
  auto& problems = problem_list();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t begin = groups.offsets[e], count = groups.offsets[e + 1] - begin;
    if (count == 0) continue;
    const int64_t row = groups.rows ? 0 : begin;
    GemmProblem g;
    if (x) g.a = {element(*x, row), x->row_stride(), nullptr, is_bf16(*x), true};
    if (groups.rows) g.a.rows = groups.rows + begin;
    g.m = count, g.n = n, g.k = k;
    g.c = element(y, begin), g.ldc = y.row_stride();
    if (w.packed) {
      CHECK(int8 || w.packed[e].computes(compute));
      check_packed(w.packed[e], n, k, int8 != nullptr);
      add_packed(g, w.packed[e], int8, row, is_bf16(y), problems);
    } else {
      g.b = {element(w.values, e), k, nullptr, is_bf16(w.values), true};
      problems.push_back(g);
    }
  }
  gemm(problems, {compute, is_bf16(y), false});
}

}  // namespace

void matmul_forward(const Tensor& x, const MatmulWeight& w, const Tensor* bias, Compute compute, Tensor& y) {
  CHECK(x.rank() == 2 && is_float(x));
  GemmProblem g;
  g.a = by_rows(x);
  g.m = x.dim(0), g.k = x.dim(1);
  forward(g, nullptr, w, bias, compute, y);
}

void matmul_forward(const Int8Rows& x, const PackedMatrix& w, const Tensor* bias, Tensor& y) {
  GemmProblem g;
  g.m = x.rows, g.k = x.k;
  forward(g, &x, {Tensor(), &w}, bias, Compute::kBF16, y);
}

void matmul_backward_input(const Tensor& dy, const MatmulWeight& w, Compute compute, bool accumulate, Tensor& dx) {
  CHECK(dy.rank() == 2 && dx.rank() == 2 && w.values.rank() == 2 && is_float(dy) && is_float(dx) && is_float(w.values));
  GemmProblem g;
  g.m = dy.dim(0), g.n = dx.dim(1), g.k = dy.dim(1);
  CHECK_EQ(dx.dim(0), g.m);
  CHECK_EQ(w.values.dim(0), g.k);
  CHECK_EQ(w.values.dim(1), g.n);
  g.a = by_rows(dy);
  g.b = by_columns(w.values);
  g.c = dx.raw(), g.ldc = dx.row_stride();
  gemm({&g, 1}, {compute, is_bf16(dx), accumulate});
}

void matmul_backward_weight(const Tensor& dy, const Tensor& x, Compute compute, bool accumulate, Tensor& dw) {
  CHECK(dy.rank() == 2 && x.rank() == 2 && dw.rank() == 2 && is_float(dy) && is_float(x) && dw.dtype() == DType::kF32);
  GemmProblem g;
  g.m = dy.dim(1), g.n = x.dim(1), g.k = dy.dim(0);
  CHECK_EQ(x.dim(0), g.k);
  CHECK_EQ(dw.dim(0), g.m);
  CHECK_EQ(dw.dim(1), g.n);
  g.a = by_columns(dy);
  g.b = by_columns(x);
  g.c = dw.raw(), g.ldc = dw.row_stride();
  gemm({&g, 1}, {compute, false, accumulate});
}

void bias_backward(const Tensor& dy, bool accumulate, Tensor& dbias) {
  CHECK(dy.rank() == 2 && is_float(dy) && dbias.dtype() == DType::kF32);
  CHECK_EQ(dbias.numel(), dy.dim(1));
  float* out = dbias.data<float>();
  parallel_for(dy.dim(1), 256, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(end - begin, 0.f);
    for (int64_t t = 0; t < dy.rows(); ++t) {
      if (is_bf16(dy)) {
        const bf16* p = dy.row<bf16>(t) + begin;
        for (int64_t j = 0; j < end - begin; ++j) sum[j] += to_float(p[j]);
      } else {
        const float* p = dy.row<float>(t) + begin;
        for (int64_t j = 0; j < end - begin; ++j) sum[j] += p[j];
      }
    }
    for (int64_t j = begin; j < end; ++j) out[j] = accumulate ? out[j] + sum[j - begin] : sum[j - begin];
  });
}

void grouped_matmul_forward(const Tensor& x, const GroupedRows& groups, const GroupedWeight& w, Compute compute, Tensor& y) {
  CHECK(x.rank() == 2 && is_float(x));
  if (!groups.rows) CHECK_EQ(x.dim(0), y.dim(0));
  if (!w.packed) {
    CHECK(w.values.rank() == 3 && is_float(w.values));
    CHECK_EQ(w.values.dim(0), static_cast<int64_t>(groups.offsets.size()) - 1);
    CHECK_EQ(w.values.dim(1), y.dim(1));
    CHECK_EQ(w.values.dim(2), x.dim(1));
  }
  grouped_forward(&x, nullptr, x.dim(1), groups, w, compute, y);
}

void grouped_matmul_forward(const Int8Rows& x, const GroupedRows& groups, const PackedMatrix* w, Tensor& y) {
  CHECK(w != nullptr);
  if (!groups.rows) CHECK_EQ(x.rows, y.dim(0));
  grouped_forward(nullptr, &x, x.k, groups, {Tensor(), w}, Compute::kBF16, y);
}

void grouped_matmul_backward_input(const Tensor& dy, const GroupedRows& groups, const GroupedWeight& w, Compute compute,
                                   Tensor& dx) {
  CHECK(dy.rank() == 2 && dx.rank() == 2 && w.values.rank() == 3 && is_float(dy) && is_float(dx) && is_float(w.values));
  const int64_t experts = w.values.dim(0), n = w.values.dim(1), k = w.values.dim(2);
  check_groups(groups, experts, dx.dim(0));
  if (!groups.dy_rows) CHECK_EQ(dx.dim(0), dy.dim(0));
  CHECK_EQ(dy.dim(1), n);
  CHECK_EQ(dx.dim(1), k);
  auto& problems = problem_list();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t begin = groups.offsets[e], count = groups.offsets[e + 1] - begin;
    if (count == 0) continue;
    GemmProblem g;
    g.a = groups.dy_rows ? by_rows(dy, groups.dy_rows + begin)
                         : MatrixView{element(dy, begin), dy.row_stride(), nullptr, is_bf16(dy), true};
    g.b = {element(w.values, e), k, nullptr, is_bf16(w.values), false};
    g.m = count, g.n = k, g.k = n;
    g.c = element(dx, begin), g.ldc = dx.row_stride();
    problems.push_back(g);
  }
  gemm(problems, {compute, is_bf16(dx), false});
}

void grouped_matmul_backward_weight(const Tensor& dy, const Tensor& x, const GroupedRows& groups, Compute compute,
                                    bool accumulate, Tensor& dw) {
  CHECK(dy.rank() == 2 && x.rank() == 2 && dw.rank() == 3 && is_float(dy) && is_float(x) && dw.dtype() == DType::kF32);
  const int64_t experts = dw.dim(0), n = dw.dim(1), k = dw.dim(2);
  check_groups(groups, experts, groups.offsets.back());
  CHECK_EQ(dy.dim(1), n);
  CHECK_EQ(x.dim(1), k);
  if (!groups.dy_rows) CHECK_EQ(dy.dim(0), groups.offsets.back());
  if (!groups.rows) CHECK_EQ(x.dim(0), groups.offsets.back());
  auto& problems = problem_list();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t begin = groups.offsets[e], count = groups.offsets[e + 1] - begin;
    GemmProblem g;
    g.a = groups.dy_rows ? by_columns(dy, groups.dy_rows + begin)
                         : MatrixView{element(dy, begin), dy.row_stride(), nullptr, is_bf16(dy), false};
    g.b = groups.rows ? by_columns(x, groups.rows + begin)
                      : MatrixView{element(x, begin), x.row_stride(), nullptr, is_bf16(x), false};
    g.m = n, g.n = k, g.k = count;
    g.c = element(dw, e), g.ldc = k;
    problems.push_back(g);
  }
  gemm(problems, {compute, false, accumulate});
}

}  // namespace fathom
