// VDPBF16PS over 16 lanes: sum += a.odd b.odd, then += a.even b.even. Emulated below the avx512bf16 rung, same bits.
// Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/emulate.h"
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 3
FATHOM_INLINE F32 dot2(Pairs a, Pairs b, F32 sum) {
  return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
}
#else
FATHOM_INLINE F32 dot2(Pairs a, Pairs b, F32 sum) {
  uint32_t x[16], y[16];
  float s[16];
  store_pairs(x, a);
  store_pairs(y, b);
  store(s, sum);
  for (int i = 0; i < 16; ++i) s[i] = emulate_dot2(s[i], x[i], y[i]);
  return load(s);
}
#endif

}  // namespace fathom::FATHOM_RUNG
