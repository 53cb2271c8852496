#include "ops/quantize_rows/quantize_rows_cpu.h"

#include "backend/cpu/dot_int8.h"
#include "kernels/lanes.h"
#include "kernels/matmul/int8_rows.h"

namespace fathom::FATHOM_RUNG {

void quantize_rows_of(const QuantizeRows& a, int64_t begin, int64_t end) {
  const int64_t n = a.width;
  for (int64_t r = begin; r < end; ++r) {
    const AnyRow x = row_at(a.x, a.x_bf16, r * a.x_stride);
    F32 largest = zero(), finite = zero();  // `finite` stays 0 unless there is an infinity or a NaN
    for_lanes(n, [&](int64_t i, auto g) FATHOM_LANES_INLINE {
      const F32 v = load(x, i, g);
      largest = max(max(v, zero() - v), largest);
      finite = fma(v, zero(), finite);
    });
    const float most = reduce_max(largest);
    const bool bad = !(reduce_add(finite) == 0.f), some = !bad && most >= a.smallest;
    const F32 inverse = set1(some ? 127.f / most : 0.f);
    char* chunk = reinterpret_cast<char*>(a.codes + r * a.codes_stride);
    int32_t total = 0;
    for (int64_t k0 = 0; k0 < n; k0 += kInt8ChunkK, chunk += kInt8ChunkBytes) {
      int8_t* codes = reinterpret_cast<int8_t*>(chunk);
      int32_t sums[2][16] = {};
      for (int64_t g = 0; g < 16; ++g) {
        F32 both = zero();
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t i = k0 + g * 32 + half * 16;
          F32 code = zero();
          if (some && i < n)
            code = round((i + 16 <= n ? load(x, i, Whole{}) : load(x, i, Ragged{static_cast<int>(n - i)})) * inverse);
          store_i8(codes + g * 32 + half * 16, code);
          both = both + code;
          if (half == 0) sums[1][g] = static_cast<int32_t>(reduce_add(both));  // integers: exact in any order
        }
        sums[0][g] = static_cast<int32_t>(reduce_add(both));
        total += sums[0][g];
      }
      __builtin_memcpy(chunk + kInt8ChunkK, sums, sizeof sums);
    }
    a.sums[r] = total;
    a.scales[r] = bad ? __builtin_nanf("") : some ? most / 127.f : 0.f;
  }
}

}  // namespace fathom::FATHOM_RUNG
