// Against the paper's algorithm as it is printed, in double precision, with an inverse; and what must hold whatever the
// numbers.
#include "quant/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/op_testing.h"
#include "tensor/format/int_group.h"

namespace fathom {
namespace {

using testing::random_tensor;
using Matrix = std::vector<std::vector<double>>;

constexpr IntLayout int8_rows(int64_t k) { return {k, kInt8Lowest, kInt8Highest}; }
constexpr IntLayout int4_groups(int64_t group) { return {group, kInt4Lowest, kInt4Highest}; }

// Inputs whose columns depend on one another and differ in power, as a model's do: x^T x of `rows` of them.
Tensor gram_of_inputs(int64_t k, int64_t rows, uint64_t seed) {
  Tensor x = random_tensor({rows, k}, DType::kF32, seed), gram = Tensor::zeros({k, k}, DType::kF32);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 1; j < k; ++j)
      x.row<float>(r)[j] =
          (j % 17 == 0 ? 6.f : 1.f) * (0.8f * x.row<float>(r)[j - 1] + 0.6f * x.row<float>(r)[j]) / (j % 17 == 1 ? 6.f : 1.f);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r)
        sum += static_cast<double>(x.row<float>(r)[i]) * static_cast<double>(x.row<float>(r)[j]);
      gram.row<float>(i)[j] = static_cast<float>(sum);
    }
  return gram;
}
std::vector<f16> scales_of(const Tensor& w, const IntLayout& layout) {
  std::vector<f16> scales;
  for (int64_t r = 0; r < w.rows(); ++r)
    for (int64_t c = 0; c < w.dim(1); c += layout.group)
      scales.push_back(layout.highest == kInt8Highest ? int8_scale(w.row<float>(r) + c, layout.group)
                                                      : int4_scale(w.row<float>(r) + c, layout.group));
  return scales;
}
Tensor rounded(const GptqPlan& plan, const Tensor& w, const IntLayout& layout) {
  Tensor codes = Tensor::empty(w.shape(), DType::kI8);
  gptq_round(plan, w, scales_of(w, layout), layout, codes);
  return codes;
}
Tensor nearest(const Tensor& w, const IntLayout& layout) {
  Tensor codes = Tensor::empty(w.shape(), DType::kI8);
  nearest_round(w, scales_of(w, layout), layout, codes);
  return codes;
}
double error_of(const Tensor& w, const Tensor& codes, const IntLayout& layout, const Tensor& gram) {
  const auto errors = output_errors(w, codes, scales_of(w, layout), layout, gram);
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

Matrix inverse(Matrix a) {  // Gauss-Jordan; a is positive
  const size_t n = a.size();
  Matrix b(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) b[i][i] = 1;
  for (size_t i = 0; i < n; ++i) {
    const double pivot = a[i][i];
    for (size_t j = 0; j < n; ++j) a[i][j] /= pivot, b[i][j] /= pivot;
    for (size_t r = 0; r < n; ++r) {
      if (r == i) continue;
      const double f = a[r][i];
      for (size_t j = 0; j < n; ++j) a[r][j] -= f * a[i][j], b[r][j] -= f * b[i][j];
    }
  }
  return b;
}
Matrix upper_cholesky(const Matrix& a) {  // a = U^T U
  const size_t n = a.size();
  Matrix u(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i; j < n; ++j) {
      double sum = a[i][j];
      for (size_t k = 0; k < i; ++k) sum -= u[k][i] * u[k][j];
      u[i][j] = i == j ? std::sqrt(sum) : sum / u[i][i];
    }
  return u;
}
// Algorithm 1 of the paper with blocks of one column, columns by falling diagonal, the scales given.
std::vector<int> textbook(const Tensor& w, const std::vector<f16>& scales, const IntLayout& layout, const Tensor& gram) {
  const int64_t n = w.rows(), k = w.dim(1), groups = k / layout.group;
  double mean = 0;
  for (int64_t i = 0; i < k; ++i) mean += static_cast<double>(gram.row<float>(i)[i]) / static_cast<double>(k);
  std::vector<int64_t> order(static_cast<size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return gram.row<float>(a)[a] > gram.row<float>(b)[b]; });
  Matrix h(static_cast<size_t>(k), std::vector<double>(static_cast<size_t>(k)));
  for (size_t i = 0; i < h.size(); ++i)
    for (size_t j = 0; j < h.size(); ++j)
      h[i][j] = static_cast<double>(gram.row<float>(order[i])[order[j]]) + (i == j ? 0.01 * mean : 0);
  const Matrix u = upper_cholesky(inverse(h));
  std::vector<int> codes(static_cast<size_t>(n * k));
  for (int64_t r = 0; r < n; ++r) {
    std::vector<double> x(static_cast<size_t>(k));
    for (size_t j = 0; j < x.size(); ++j) x[j] = static_cast<double>(w.row<float>(r)[order[j]]);
    for (size_t j = 0; j < x.size(); ++j) {
      const double scale = static_cast<double>(to_float(scales[static_cast<size_t>(r * groups + order[j] / layout.group)]));
      const double code =
          scale == 0 ? 0 : std::clamp(std::nearbyint(x[j] / scale), double(layout.lowest), double(layout.highest));
      codes[static_cast<size_t>(r * k + order[j])] = static_cast<int>(code);
      const double error = (x[j] - code * scale) / u[j][j];
      for (size_t i = j + 1; i < x.size(); ++i) x[i] -= error * u[j][i];
    }
  }
  return codes;
}

TEST(Gptq, IsThePapersAlgorithm) {
  for (const int64_t k : {1, 32, 96, 128, 160, 320})  // below, at and above a block
    for (const IntLayout& layout : {int8_rows(k), int4_groups(32)}) {
      if (k % layout.group != 0) continue;
      const Tensor w = random_tensor({9, k}, DType::kF32, 7, 0.3f), gram = gram_of_inputs(k, 2 * k + 5, 11);
      const GptqPlan plan(gram);
      EXPECT_EQ(plan.damping(), 0.01);
      const Tensor codes = rounded(plan, w, layout);
      const std::vector<int> want = textbook(w, scales_of(w, layout), layout, gram);
      // In single precision a value near a half may round the other way, which moves what follows in its row.
      int64_t different = 0;
      for (int64_t i = 0; i < codes.numel(); ++i) different += codes.data<int8_t>()[i] != want[static_cast<size_t>(i)];
      EXPECT_LE(different, codes.numel() / 50) << k << ", groups of " << layout.group;
      Tensor textbook_codes = Tensor::empty(w.shape(), DType::kI8);
      std::copy(want.begin(), want.end(), textbook_codes.data<int8_t>());
      const double error = error_of(w, codes, layout, gram), expected = error_of(w, textbook_codes, layout, gram);
      EXPECT_NEAR(error, expected, 0.01 * expected) << k << ", groups of " << layout.group;
      if (k >= 96) {
        EXPECT_LT(error, 0.5 * error_of(w, nearest(w, layout), layout, gram)) << k << ", groups of " << layout.group;
      }
    }
}

TEST(Gptq, NothingToTakeUpGivesTheNearestCodes) {
  const int64_t k = 192;
  const Tensor w = random_tensor({5, k}, DType::kF32, 3);
  Tensor diagonal = Tensor::zeros({k, k}, DType::kF32);
  const Tensor zeros = diagonal.clone();
  for (int64_t i = 0; i < k; ++i) diagonal.row<float>(i)[i] = static_cast<float>(1 + i % 5);
  for (const IntLayout& layout : {int8_rows(k), int4_groups(64)})
    for (const Tensor& gram : {diagonal, zeros}) {
      const Tensor codes = rounded(GptqPlan(gram), w, layout);
      EXPECT_EQ(testing::bytes_of(codes), testing::bytes_of(nearest(w, layout)));
    }
  // The nearest codes are the format's.
  std::vector<int8_t> row(static_cast<size_t>(k));
  quantize_int8(w.row<float>(2), k, int8_scale(w.row<float>(2), k), row.data());
  EXPECT_EQ(std::memcmp(nearest(w, int8_rows(k)).row<int8_t>(2), row.data(), row.size()), 0);
}

TEST(Gptq, OutputErrorsAreThoseOfTheOutputs) {
  const int64_t k = 40, rows = 70;
  const Tensor w = random_tensor({6, k}, DType::kF32, 5), x = random_tensor({rows, k}, DType::kF32, 6);
  Tensor gram = Tensor::zeros({k, k}, DType::kF32);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j) gram.row<float>(i)[j] += x.row<float>(r)[i] * x.row<float>(r)[j];
  const IntLayout layout = int4_groups(8);
  const std::vector<f16> scales = scales_of(w, layout);
  const Tensor codes = nearest(w, layout);
  const std::vector<double> errors = output_errors(w, codes, scales, layout, gram);
  for (int64_t n = 0; n < w.rows(); ++n) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      double y = 0;
      for (int64_t c = 0; c < k; ++c)
        y += static_cast<double>(x.row<float>(r)[c]) *
             (static_cast<double>(w.row<float>(n)[c]) -
              codes.row<int8_t>(n)[c] * static_cast<double>(to_float(scales[static_cast<size_t>(n * (k / 8) + c / 8)])));
      sum += y * y;
    }
    EXPECT_NEAR(errors[static_cast<size_t>(n)], sum, 1e-4 * sum);
  }
}

// Fewer inputs than columns, inputs all alike, inputs that are never there: the factor exists all the same, and what has no
// input keeps its nearest code.
TEST(Gptq, PoorInputsAreNoHarm) {
  const int64_t k = 256;
  const Tensor w = random_tensor({8, k}, DType::kF32, 9);
  const IntLayout layout = int4_groups(32);
  for (const int64_t rows : {1, 3, 100}) {
    Tensor gram = gram_of_inputs(k, rows, 21);
    for (int64_t i = 0; i < k; ++i)
      for (int64_t dead = 5; dead < k; dead += 50) gram.row<float>(i)[dead] = gram.row<float>(dead)[i] = 0;
    const GptqPlan plan(gram);
    const Tensor codes = rounded(plan, w, layout), plain = nearest(w, layout);
    EXPECT_LT(error_of(w, codes, layout, gram), error_of(w, plain, layout, gram)) << rows;
    for (int64_t r = 0; r < w.rows(); ++r)
      for (int64_t dead = 5; dead < k; dead += 50) EXPECT_EQ(codes.row<int8_t>(r)[dead], plain.row<int8_t>(r)[dead]);
  }
  // Not positive by a hair, as sums in single precision may be: more is added to the diagonal.
  Tensor gram = Tensor::zeros({2, 2}, DType::kF32);
  gram.row<float>(0)[0] = gram.row<float>(1)[1] = 1;
  gram.row<float>(0)[1] = gram.row<float>(1)[0] = 1.05f;
  const GptqPlan plan(gram);
  EXPECT_NEAR(plan.damping(), 0.1, 1e-12);
}

TEST(Gptq, RowsOfZerosAndRowsAloneAndThreads) {
  const int64_t k = 300;
  Tensor w = random_tensor({37, k}, DType::kF32, 13);
  std::fill_n(w.row<float>(4), k, 0.f);
  const Tensor gram = gram_of_inputs(k, 500, 31);
  const IntLayout layout = int8_rows(k);
  testing::expect_same_bits_everywhere([&] {
    const GptqPlan plan(gram);
    const Tensor codes = rounded(plan, w, layout);
    for (int64_t c = 0; c < k; ++c) EXPECT_EQ(codes.row<int8_t>(4)[c], 0);
    const Tensor alone = rounded(plan, w.slice_rows(20, 21), layout);
    EXPECT_EQ(std::memcmp(alone.row<int8_t>(0), codes.row<int8_t>(20), static_cast<size_t>(k)), 0);
    return testing::bytes_of(codes);
  });
}

}  // namespace
}  // namespace fathom
