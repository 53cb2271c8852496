#include "nn/rows.h"

#include <cstring>

#include "base/thread_pool.h"

namespace fathom {

void gather_rows(const Tensor& from, std::span<const int32_t> rows, Tensor& to) {
  CHECK_EQ(to.rows(), rows.size());
  CHECK_EQ(to.row_size(), from.row_size());
  const int64_t width = from.row_size();
  parallel_for(to.rows(), 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (from.dtype() == to.dtype()) {
        const int64_t size = dtype_bytes(from.dtype());
        std::memcpy(to.raw() + i * to.row_stride() * size, from.raw() + rows[i] * from.row_stride() * size, width * size);
      } else {
        to.slice_rows(i, i + 1).copy_from(from.slice_rows(rows[i], rows[i] + 1));
      }
    }
  });
}

void convert_rows(const Tensor& from, Tensor& to) {
  CHECK(from.shape() == to.shape());
  parallel_for(from.rows(), 32,
               [&](int64_t begin, int64_t end) { to.slice_rows(begin, end).copy_from(from.slice_rows(begin, end)); });
}

void scatter_add_rows(const Tensor& from, std::span<const int32_t> rows, Tensor& to) {
  CHECK_EQ(from.rows(), rows.size());
  parallel_for(from.rows(), 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* a = from.row<float>(i);
      float* b = to.row<float>(rows[i]);
      for (int64_t c = 0; c < from.row_size(); ++c) b[c] += a[c];
    }
  });
}

}  // namespace fathom
