#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/matmul/matmul.h"
#include "tensor/format/int_group.h"

namespace fathom {
namespace {

constexpr int64_t kBlock = 128;  // columns that are factored, or rounded, before the others see them in one product

// R in place of the upper triangle of g [n, n], g = R R^T; from the last column to the first. False: g is not positive.
bool factor_block(Tensor& g) {
  const int64_t n = g.rows();
  for (int64_t j = n - 1; j >= 0; --j)
    for (int64_t i = j; i >= 0; --i) {
      float *row = g.row<float>(i), *pivot = g.row<float>(j);
      double sum = static_cast<double>(row[j]);
      for (int64_t k = j + 1; k < n; ++k) sum -= static_cast<double>(row[k]) * static_cast<double>(pivot[k]);
      if (i == j) {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        row[j] = static_cast<float>(std::sqrt(sum));
      } else {
        row[j] = static_cast<float>(sum / static_cast<double>(pivot[j]));
      }
    }
  return true;
}

// The same of any size, by blocks: the last columns' factor, the rows above it, and what is left of the triangle before.
bool factor(Tensor& g) {
  for (int64_t end = g.rows(); end > 0;) {
    const int64_t begin = (end - 1) / kBlock * kBlock, n = end - begin;
    Tensor corner = g.slice_rows(begin, end).slice_columns(begin, end);
    if (!factor_block(corner)) return false;
    if (begin > 0) {
      Tensor above = Tensor::empty({n, begin}, DType::kF32), minus = Tensor::empty({n, begin}, DType::kF32);  // transposed
      parallel_for(begin, 16, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          float* row = g.row<float>(i) + begin;
          for (int64_t j = n - 1; j >= 0; --j) {
            const float* r = corner.row<float>(j);
            double sum = static_cast<double>(row[j]);
            for (int64_t k = j + 1; k < n; ++k) sum -= static_cast<double>(row[k]) * static_cast<double>(r[k]);
            row[j] = static_cast<float>(sum / static_cast<double>(r[j]));
            above.row<float>(j)[i] = row[j], minus.row<float>(j)[i] = -row[j];
          }
        }
      });
      Tensor before = g.slice_rows(0, begin).slice_columns(0, begin);
      matmul_backward_weight(minus, above, Compute::kF32, /*accumulate=*/true, before);
    }
    end = begin;
  }
  return true;
}

}  // namespace

GptqPlan::GptqPlan(const Tensor& gram, double damping)
    : columns_(static_cast<size_t>(gram.rows())), feed_(Tensor::empty(gram.shape(), DType::kF32)), damping_(damping) {
  CHECK(gram.rank() == 2 && gram.dim(0) == gram.dim(1));
  const int64_t n = gram.rows();
  double power = 0;
  for (int64_t i = 0; i < n; ++i) power += static_cast<double>(gram.row<float>(i)[i]);
  CHECK(std::isfinite(power));
  std::iota(columns_.begin(), columns_.end(), 0);
  std::stable_sort(columns_.begin(), columns_.end(),
                   [&](int32_t a, int32_t b) { return gram.row<float>(a)[a] > gram.row<float>(b)[b]; });
  if (power == 0) {
    feed_.zero();
    return;
  }
  for (;; damping_ *= 10) {
    CHECK(damping_ < 1e6);  // by then the diagonal outweighs the rest
    parallel_for(n, 16, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const float* from = gram.row<float>(columns_[static_cast<size_t>(i)]);
        float* to = feed_.row<float>(i);
        for (int64_t j = 0; j < n; ++j) to[j] = from[columns_[static_cast<size_t>(j)]];
        to[i] += static_cast<float>(damping_ * power / static_cast<double>(n));
      }
    });
    if (factor(feed_)) break;
  }
  std::vector<float> diagonal(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) diagonal[static_cast<size_t>(j)] = feed_.row<float>(j)[j];
  parallel_for(n, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      float* row = feed_.row<float>(i);
      for (int64_t j = i + 1; j < n; ++j) row[j] /= diagonal[static_cast<size_t>(j)];
    }
  });
}

void gptq_round(const GptqPlan& plan, const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes) {
  const int64_t rows = w.rows(), k = plan.k(), groups = k / layout.group;
  CHECK(w.dim(1) == k && codes.shape() == w.shape());
  CHECK_EQ(scales.size(), rows * groups);
  const std::span<const int32_t> columns = plan.columns();
  Tensor moved = Tensor::empty({rows, k}, DType::kF32);  // w in the order of rounding, plus what its columns have taken up
  parallel_for(rows, 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float* from = w.row<float>(r);
      float* to = moved.row<float>(r);
      for (int64_t j = 0; j < k; ++j) to[j] = from[columns[static_cast<size_t>(j)]];
    }
  });
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t end = std::min(k, begin + kBlock), n = end - begin;
    Tensor errors = Tensor::empty({rows, n}, DType::kF32);
    parallel_for(rows, 8, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const float* values = w.row<float>(r);
        float *at = moved.row<float>(r) + begin, *error = errors.row<float>(r);
        int8_t* to = codes.row<int8_t>(r);
        for (int64_t j = 0; j < n; ++j) {
          const int32_t column = columns[static_cast<size_t>(begin + j)];
          const IntQuantizer quantizer(scales[static_cast<size_t>(r * groups + column / layout.group)], layout.lowest,
                                       layout.highest);
          const int32_t code = quantizer(at[j]);
          to[column] = static_cast<int8_t>(code);
          error[j] = values[column] - static_cast<float>(code) * quantizer.scale();
          const float* feed = plan.feed().row<float>(begin + j) + begin;
          for (int64_t i = j + 1; i < n; ++i) at[i] += error[j] * feed[i];
        }
      }
    });
    if (end == k) break;
    Tensor rest = moved.slice_columns(end, k);
    matmul_backward_input(errors, {plan.feed().slice_rows(begin, end).slice_columns(end, k)}, Compute::kF32,
                          /*accumulate=*/true, rest);
  }
}

void nearest_round(const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes) {
  const int64_t k = w.dim(1), groups = k / layout.group;
  CHECK_EQ(scales.size(), w.rows() * groups);
  parallel_for(w.rows(), 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float* from = w.row<float>(r);
      int8_t* to = codes.row<int8_t>(r);
      for (int64_t g = 0; g < groups; ++g) {
        const IntQuantizer quantizer(scales[static_cast<size_t>(r * groups + g)], layout.lowest, layout.highest);
        for (int64_t c = g * layout.group; c < (g + 1) * layout.group; ++c) to[c] = static_cast<int8_t>(quantizer(from[c]));
      }
    }
  });
}

std::vector<double> output_errors(const Tensor& w, const Tensor& codes, std::span<const f16> scales, const IntLayout& layout,
                                  const Tensor& gram) {
  const int64_t rows = w.rows(), k = w.dim(1), groups = k / layout.group;
  Tensor errors = Tensor::empty({rows, k}, DType::kF32), weighed = Tensor::empty({rows, k}, DType::kF32);
  parallel_for(rows, 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float* values = w.row<float>(r);
      const int8_t* of_row = codes.row<int8_t>(r);
      float* to = errors.row<float>(r);
      for (int64_t c = 0; c < k; ++c)
        to[c] =
            values[c] - static_cast<float>(of_row[c]) * to_float(scales[static_cast<size_t>(r * groups + c / layout.group)]);
    }
  });
  matmul_forward(errors, {gram}, nullptr, Compute::kF32, weighed);
  std::vector<double> sums(static_cast<size_t>(rows));
  parallel_for(rows, 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float *error = errors.row<float>(r), *of_gram = weighed.row<float>(r);
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += static_cast<double>(error[c]) * static_cast<double>(of_gram[c]);
      sums[static_cast<size_t>(r)] = std::max(0.0, sum);
    }
  });
  return sums;
}

}  // namespace fathom
