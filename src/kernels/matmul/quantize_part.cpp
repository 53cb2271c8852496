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
               "plain weights are not rounded to FP8 blocks; choose one of int8, q8_0, q4_0, q4_1, q5_0, q4_k, q6_k, int4-g32, "
               "int4-g128");
  WeightPart part;
  part.type = type_of(format);
  const int64_t group = format == WeightFormat::kInt8Row ? k : k_multiple(format), groups = k / group;
  const bool int8 = format == WeightFormat::kInt8Row, int4 = is_int4(format);
  if (int8 || int4) {
    part.values = int8 ? Tensor::empty({rows, k}, DType::kI8) : Tensor::empty({rows, k / 8}, DType::kI32);
    part.scales = Tensor::empty(int8 ? Shape{rows} : Shape{rows, groups}, DType::kF32);
  } else {
    part.values = Tensor::empty({rows, ggml_row_bytes(part.type, k)}, DType::kU8);
  }
  const int64_t row_bytes = part.values.bytes() / std::max<int64_t>(1, rows);
  parallel_for(rows, std::max<int64_t>(1, 16384 / k), [&](int64_t begin, int64_t end) {
    const Tensor values = plain.values.slice_rows(begin, end).to(DType::kF32);
    for (int64_t r = begin; r < end; ++r) {
      const float* x = values.row<float>(r - begin);
      std::byte* to = part.values.raw() + r * row_bytes;
      if (!int8 && !int4) {
        quantize_row(part.type, x, k, to);
        continue;
      }
      for (int64_t g = 0; g < groups; ++g) {
        const float* from = x + g * group;
        const f16 scale = int8 ? int8_scale(from, group) : int4_scale(from, group);
        part.scales.data<float>()[r * groups + g] = to_float(scale);
        if (int8)
          quantize_int8(from, group, scale, reinterpret_cast<int8_t*>(to));
        else
          quantize_int4(from, group, scale, reinterpret_cast<uint8_t*>(to) + g * group / 2);
      }
    }
  });
  return part;
}

}  // namespace fathom
