#include "ops/quantize_rows/quantize_rows_cpu.h"

#include "backend/cpu/dot_int8.h"
#include "kernels/lanes.h"
#include "kernels/matmul/int8_rows.h"

namespace fathom::FATHOM_RUNG {

// 16 k from `i` on; zeros behind the last.
FATHOM_INLINE F32 lanes_at(const AnyRow& x, int64_t i, int64_t n) {
  if (i + 16 <= n) return load(x, i, Whole{});
  return i < n ? load(x, i, Ragged{static_cast<int>(n - i)}) : zero();
}

void quantize_rows_of(const QuantizeRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const AnyRow x = row_at(a.x, a.x_bf16, r * a.x_stride);
    F32 finite = zero();  // stays 0 unless there is an infinity or a NaN
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE { finite = fma(load(x, i, g), zero(), finite); });
    const bool bad = !(reduce_add(finite) == 0.f);
    char* chunk = reinterpret_cast<char*>(a.codes + r * a.codes_stride);
    for (int64_t k0 = 0; k0 < n; k0 += kInt8ChunkK, chunk += kInt8ChunkBytes) {
      int8_t* codes = reinterpret_cast<int8_t*>(chunk);
      int32_t sums[2][16];
      float scales[16];
      for (int64_t k = 0; k < kInt8ChunkK; k += a.group) {
        F32 largest = zero();
        for (int64_t i = k; i < k + a.group; i += 16) {
          const F32 v = lanes_at(x, k0 + i, n);
          largest = max(max(v, zero() - v), largest);
        }
        const float most = reduce_max(largest);
        const bool some = !bad && most >= a.smallest;
        const F32 inverse = set1(some ? 127.f / most : 0.f);
        F32 both = zero();
        int32_t first = 0;
        for (int64_t i = k; i < k + a.group; i += 16) {
          const F32 code = some ? round(lanes_at(x, k0 + i, n) * inverse) : zero();
          store_i8(codes + i, code);
          both = both + code;
          if (i - k + 16 == a.group / 2) first = static_cast<int32_t>(reduce_add(both));  // integers: exact in any order
        }
        const int32_t sum = static_cast<int32_t>(reduce_add(both));
        const float scale = bad ? __builtin_nanf("") : some ? most / 127.f : 0.f;
        for (int64_t g = k / 32; g < (k + a.group) / 32; ++g) sums[0][g] = sum, sums[1][g] = first, scales[g] = scale;
      }
      __builtin_memcpy(chunk + kInt8ChunkK, sums, sizeof sums);
      __builtin_memcpy(chunk + kInt8ChunkK + sizeof sums, scales, sizeof scales);
    }
  }
}

}  // namespace fathom::FATHOM_RUNG
