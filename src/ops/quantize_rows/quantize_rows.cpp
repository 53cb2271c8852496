#include "ops/quantize_rows/quantize_rows.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/quantize_rows/quantize_rows_cpu.h"

namespace fathom {

Int8Rows quantize_rows(const Tensor& x) {
  CHECK(x.rank() == 2 && (x.dtype() == DType::kF32 || x.dtype() == DType::kBF16) && x.dim(1) <= kMaxInt8K);
  const int64_t rows = x.dim(0), width = x.dim(1);
  Int8Rows q;
  q.k = width;
  q.codes = Tensor::empty({rows, int8_row_bytes(width)}, DType::kI8);
  q.scales = Tensor::empty({rows}, DType::kF32);
  q.sums = Tensor::empty({rows}, DType::kI32);
  QuantizeRows a;
  a.width = width;
  a.x = x.raw();
  a.x_stride = x.row_stride();
  a.x_bf16 = x.dtype() == DType::kBF16;
  a.codes = reinterpret_cast<int8_t*>(q.codes.raw());
  a.codes_stride = q.codes.row_stride();
  a.scales = q.scales.data<float>();
  a.sums = q.sums.data<int32_t>();
  a.smallest = kSmallestInt8Row;
  const auto kernel = FATHOM_PICK3(quantize_rows_of);
  parallel_for(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)),
               [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
  return q;
}

}  // namespace fathom
