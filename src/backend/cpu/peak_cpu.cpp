// Loops that do nothing but the operation that they measure.
#include "backend/cpu/dot_bf16.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/tiles.h"

namespace fathom::FATHOM_RUNG {

namespace {
constexpr int kChains = 16;  // enough to cover a latency of 4 or 5 cycles on two ports
}

// `rounds` x 16 chains x 16 lanes; the sum is returned so that nothing is optimised away.
float peak_f32(int64_t rounds) {
  F32 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = set1(static_cast<float>(i));
  float factor = 0.999f, addend = 0.5f;
  __asm__ volatile("" : "+m"(factor), "+m"(addend));
  const F32 b = set1(factor), c = set1(addend);
#if FATHOM_RUNG_LEVEL == 1
  constexpr int kUsed = 6;  // two ymm each: 12 chains
#else
  constexpr int kUsed = kChains;
#endif
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kUsed; ++i) sum[i] = fma(sum[i], b, c);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = sum[0] + sum[i];
  return reduce_add(sum[0]);
}
int peak_f32_chains() { return FATHOM_RUNG_LEVEL == 1 ? 6 : kChains; }

#if FATHOM_RUNG_LEVEL >= 3
float peak_bf16(int64_t rounds) {
  F32 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = set1(static_cast<float>(i));
  uint32_t ones = 0x3f803f80u;
  __asm__ volatile("" : "+m"(ones));
  const Pairs a = set1_pairs(ones);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = dot2(a, a, sum[i]);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = sum[0] + sum[i];
  return reduce_add(sum[0]);
}
float peak_int8(int64_t rounds) {
  __m512i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  int ones = 0x01010101;
  __asm__ volatile("" : "+m"(ones));
  const __m512i a = _mm512_set1_epi32(ones);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, a);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm512_cvtsi512_si32(sum[0]));
}
#endif

#if FATHOM_RUNG_LEVEL >= 4
float peak_amx(int64_t rounds, bool int8) {
  alignas(64) static const uint8_t zeros[1024] = {};
  alignas(64) float out[256];
  Tiles tiles;
  const uint8_t rows[8] = {16, 16, 16, 16, 16, 16, 16, 16};
  tiles.configure(rows);
  tiles.load<4>(zeros, 64);
  tiles.load<5>(zeros, 64);
  tiles.load<6>(zeros, 64);
  tiles.load<7>(zeros, 64);
  for (int64_t r = 0; r < rounds; ++r) {
    if (int8) {
      __asm__ volatile(
          "tdpbssd %tmm6, %tmm4, %tmm0\n\ttdpbssd %tmm7, %tmm4, %tmm1\n\ttdpbssd %tmm6, %tmm5, %tmm2\n\ttdpbssd %tmm7, %tmm5, "
          "%tmm3");
    } else {
      tiles.dot_bf16<0, 4, 6>();
      tiles.dot_bf16<1, 4, 7>();
      tiles.dot_bf16<2, 5, 6>();
      tiles.dot_bf16<3, 5, 7>();
    }
  }
  tiles.store<0>(out, 64);
  tiles.release();
  return out[0];
}
#endif

float read_floats(const float* p, int64_t count) {  // count: a multiple of 128
  F32 sum[8];
  for (int i = 0; i < 8; ++i) sum[i] = zero();
  for (int64_t j = 0; j < count; j += 128) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sum[i] = sum[i] + load(p + j + 16 * i);
  }
  for (int i = 1; i < 8; ++i) sum[0] = sum[0] + sum[i];
  return reduce_add(sum[0]);
}

}  // namespace fathom::FATHOM_RUNG
