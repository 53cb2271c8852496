#include "ops/quantize_rows/quantize_rows.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/quantize_rows/quantize_rows_cpu.h"

namespace fathom {

Tensor quantize_rows(const Tensor& x, int64_t group) {
  CHECK(x.rank() == 2 && (x.dtype() == DType::kF32 || x.dtype() == DType::kBF16) && (group == 32 || group == 64));
  const int64_t rows = x.dim(0), width = x.dim(1);
  Tensor codes = Tensor::empty({rows, int8_row_bytes(width)}, DType::kI8);
  QuantizeRows a;
  a.width = width;
  a.x = x.raw();
  a.x_stride = x.row_stride();
  a.x_bf16 = x.dtype() == DType::kBF16;
  a.codes = reinterpret_cast<int8_t*>(codes.raw());
  a.codes_stride = codes.row_stride();
  a.group = group;
  a.smallest = kSmallestInt8Group;
  const auto kernel = FATHOM_PICK3(quantize_rows_of);
  parallel_for(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)),
               [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
  return codes;
}

}  // namespace fathom
