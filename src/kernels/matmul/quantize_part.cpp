#include "kernels/matmul/quantize_part.h"

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/format/int_group.h"
#include "tensor/format/quantize.h"

namespace fathom {
WeightPart quantize_part(const WeightPart& plain, WeightFormat format) {
  CHECK(plain.format() == WeightFormat::kPlain && plain.values.rank() == 2);
  const int64_t rows = plain.rows(), k = plain.k();
  format = fallback_format(format, k);
  if (format == WeightFormat::kPlain) return plain;
  if (format == WeightFormat::kFp8Block)
    fail_usage("weights",
               "plain weights are not rounded to FP8 blocks; choose one of int8, q8_0, q4_0, q4_1, q5_0, q4_k, q6_k");
  WeightPart part;
  const bool int8 = format == WeightFormat::kInt8Row;
  part.type = type_of(format);
  if (int8) {
    part.values = Tensor::empty({rows, k}, DType::kI8);
    part.scales = Tensor::empty({rows}, DType::kF32);
  } else {
    part.values = Tensor::empty({rows, ggml_row_bytes(part.type, k)}, DType::kU8);
  }
  parallel_for(rows, std::max<int64_t>(1, 16384 / k), [&](int64_t begin, int64_t end) {
    const Tensor values = plain.values.slice_rows(begin, end).to(DType::kF32);
    for (int64_t r = begin; r < end; ++r) {
      const float* x = values.row<float>(r - begin);
      std::byte* to = part.values.raw() + r * part.values.row_stride();
      if (!int8) {
        quantize_row(part.type, x, k, to);
        continue;
      }
      const f16 scale = int8_scale(x, k);
      part.scales.data<float>()[r] = to_float(scale);
      quantize_int8(x, k, scale, reinterpret_cast<int8_t*>(to));
    }
  });
  return part;
}

}  // namespace fathom
