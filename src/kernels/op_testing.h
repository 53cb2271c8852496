// What the tests of ops share: random tensors, the same bits on every rung and thread count, central differences.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backend/cpu/isa.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace fathom::testing {

inline Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, float scale = 1.f, float shift = 0.f) {
  Tensor t = Tensor::empty(shape, DType::kF32);
  Rng rng(seed, RngStream::kTest);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = rng.next_normal() * scale + shift;
  return dtype == DType::kF32 ? t : t.to(dtype);
}
// The same values as rows of a wider tensor: row_stride() > row_size().
inline Tensor strided(const Tensor& t) {
  Tensor wide = Tensor::zeros({t.dim(0), t.dim(1) + 7}, t.dtype());
  Tensor view = wide.slice_columns(3, 3 + t.dim(1));
  view.copy_from(t);
  return view;
}
inline std::vector<double> values(const Tensor& t) {
  const Tensor f = t.to(DType::kF32);
  return std::vector<double>(f.data<float>(), f.data<float>() + f.numel());
}
inline std::string bytes_of(const Tensor& t) {
  const Tensor c = t.clone();
  return std::string(reinterpret_cast<const char*>(c.raw()), static_cast<size_t>(c.bytes()));
}

// run() returns the outputs' bytes: they must not depend on the rung (of the 16-lane vocabulary) nor on the thread count.
inline void expect_same_bits_everywhere(const std::function<std::string()>& run) {
  const Isa before = isa();
  const int threads_before = num_threads();
  std::string first;
  for (Isa rung : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
    if (!isa_supported(rung)) continue;
    set_isa_for_test(rung);
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const std::string bytes = run();
      if (first.empty()) first = bytes;
      EXPECT_TRUE(bytes == first) << isa_name(rung) << ", " << threads << " threads";
    }
  }
  set_isa_for_test(before);
  set_num_threads(threads_before);
}

inline void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (!(error <= worst)) worst = error, where = i;
  }
  EXPECT_LE(worst, tolerance) << what << " at " << where << ": " << got[where] << " against " << want[where];
}

// d loss / d x by central differences, in double: the reference's rounding (1e-16 / step) and curvature (step^2) both stay
// below 1e-9 of the values, far below the float kernels that are judged by it.
inline std::vector<double> central_differences(std::vector<double> x,
                                               const std::function<double(const std::vector<double>&)>& loss,
                                               double step = 1e-5) {
  std::vector<double> gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + step;
    const double up = loss(x);
    x[i] = at - step;
    gradient[i] = (up - loss(x)) / (2 * step);
    x[i] = at;
  }
  return gradient;
}
inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace fathom::testing
