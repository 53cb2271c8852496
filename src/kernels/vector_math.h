// exp, log and friends over 16 lanes: our own, so that no libm decides a bit. For *_cpu.cpp files (see backend/cpu/simd.h).
#pragma once
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

// e^x, relative error below 2 ulp; x <= -87.3 gives 0 (so -infinity is a mask), x >= 88.7 gives e^88.7 (never infinity),
// NaN gives NaN (max and min hand on their second operand where unordered).
// Cody-Waite reduction x = n ln2 + r with |r| <= ln2/2, then a degree-6 Taylor-like polynomial of e^r.
FATHOM_INLINE F32 exp(F32 x) {
  const F32 low = set1(-87.3f);
  const F32 clamped = min(set1(88.7f), max(low, x));
  const F32 n = min(set1(127.f), round(clamped * set1(1.44269504088896341f)));
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

// log x of one number in double, relative error about 1e-16: x = 2^e m with m in [sqrt(1/2), sqrt(2)),
// log m = 2 atanh(s), s = (m-1)/(m+1), by its series up to s^23. 0 gives -infinity, infinity and NaN stay.
FATHOM_INLINE double log(double x) {
  if (!(x > 0)) return x == 0 ? -__builtin_inf() : __builtin_nan("");
  if (x == __builtin_inf()) return x;
  uint64_t bits = __builtin_bit_cast(uint64_t, x);
  if (bits >> 52 == 0) return -708.3964185322641;  // a denormal is 0 under FTZ/DAZ: log of the least normal number
  int e = static_cast<int>(bits >> 52) - 1023;
  double m = __builtin_bit_cast(double, (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1) / (m + 1), z = s * s;
  double p = 0;
  for (int k = 23; k >= 1; k -= 2) p = p * z + 1.0 / k;
  return e * 0.6931471805599453094 + 2 * s * p;
}

}  // namespace fathom::FATHOM_RUNG
