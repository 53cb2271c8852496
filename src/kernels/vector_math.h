// exp and friends over 16 lanes: our own, so that no libm decides a bit. For *_cpu.cpp files (see backend/cpu/simd.h).
#pragma once
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

// e^x, relative error below 2 ulp; x <= -87.3 gives 0 (so -infinity is a mask), x >= 88.7 gives e^88.7 (never infinity).
// Cody-Waite reduction x = n ln2 + r with |r| <= ln2/2, then a degree-6 Taylor-like polynomial of e^r.
FATHOM_INLINE F32 exp(F32 x) {
  const F32 low = set1(-87.3f);
  const F32 clamped = min(max(x, low), set1(88.7f));
  F32 n = round(clamped * set1(1.44269504088896341f));
  n = min(n, set1(127.f));
  F32 r = fnma(n, set1(0.693145751953125f), clamped);  // ln2, upper 16 bits: n ln2_hi is exact
  r = fnma(n, set1(1.42860682030941723212e-6f), r);
  F32 p = set1(1.f / 720.f);
  p = fma(p, r, set1(1.f / 120.f));
  p = fma(p, r, set1(1.f / 24.f));
  p = fma(p, r, set1(1.f / 6.f));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.f));
  p = fma(p, r, set1(1.f));
  return select_less(x, low, zero(), scale_by_power(p, n));
}

FATHOM_INLINE F32 sigmoid(F32 x) { return set1(1.f) / (set1(1.f) + exp(zero() - x)); }

}  // namespace fathom::FATHOM_RUNG
