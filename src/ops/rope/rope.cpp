#include "ops/rope/rope.h"

#include <cmath>

#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/rope/rope_cpu.h"

namespace fathom {

RopeAngles make_rope_angles(const RopeTable& table, std::span<const int32_t> positions) {
  const int64_t rows = static_cast<int64_t>(positions.size()), half = static_cast<int64_t>(table.inv_freq.size());
  RopeAngles angles{Tensor::empty({rows, half}, DType::kF32), Tensor::empty({rows, half}, DType::kF32)};
  float *cos = angles.cos.data<float>(), *sin = angles.sin.data<float>();
  parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < half; ++j) {
        const double a = positions[i] * table.inv_freq[j];
        cos[i * half + j] = static_cast<float>(std::cos(a) * table.magnitude);
        sin[i * half + j] = static_cast<float>(std::sin(a) * table.magnitude);
      }
  });
  return angles;
}

void rope_apply(Tensor& x, int num_heads, int64_t head_stride, int64_t offset, const RopeAngles& angles, bool interleaved,
                bool inverse) {
  const int64_t rows = x.rows(), half = angles.cos.dim(1);
  CHECK_EQ(angles.cos.dim(0), rows);
  CHECK(angles.cos.contiguous() && angles.sin.contiguous() && angles.sin.shape() == angles.cos.shape());
  CHECK(num_heads > 0 && offset >= 0 && (num_heads - 1) * head_stride + offset + 2 * half <= x.row_size());
  CHECK(num_heads == 1 || head_stride >= 2 * half);
  auto piece = [&](int64_t begin, int64_t end) {
    return RopeRows{end - begin,
                    x.row_stride(),
                    num_heads,
                    head_stride,
                    offset,
                    half,
                    angles.cos.data<float>() + begin * half,
                    angles.sin.data<float>() + begin * half,
                    inverse ? -1.f : 1.f,
                    interleaved};
  };
  const int64_t grain = std::max<int64_t>(1, 16384 / (num_heads * 2 * half));
  if (x.dtype() == DType::kF32) {
    const auto fn =
        IsaTable<void (*)(const RopeRows&, float*)>{portable::rope_rows_f32, avx2::rope_rows_f32, avx512::rope_rows_f32}.pick();
    parallel_for(rows, grain, [&](int64_t begin, int64_t end) { fn(piece(begin, end), x.row<float>(begin)); });
  } else {
    const auto fn =
        IsaTable<void (*)(const RopeRows&, bf16*)>{portable::rope_rows_bf16, avx2::rope_rows_bf16, avx512::rope_rows_bf16}
            .pick();
    parallel_for(rows, grain, [&](int64_t begin, int64_t end) { fn(piece(begin, end), x.row<bf16>(begin)); });
  }
}

}  // namespace fathom
