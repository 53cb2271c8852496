// A of a block into micro-panels, for the micro-kernels and for tiles. For *_cpu.cpp files.
#pragma once
#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack.h"

namespace fathom::FATHOM_RUNG {

// k in [ks, ke) of all rows of the block; `end`: where k ends and padding begins.
template <class Op, bool kRound>
void pack_a(const GemmTile& t, int64_t micros, int64_t ks, int64_t ke, int64_t end) {
  constexpr bool kPairsOfA = Op::kUnitK == 2;
  for (int64_t k0 = ks; k0 < ke; k0 += kBlockK) {
    const int64_t padded = least(kBlockK, ke - k0), kc = least(padded, end - k0);
    if (t.a.k_contiguous) {
      float* out = reinterpret_cast<float*>(t.a_scratch) + (k0 - ks) / kBlockK * t.rows * Op::kRowWords;
      if constexpr (kPairsOfA) {
        bf16* half = reinterpret_cast<bf16*>(out);
        if (t.a.bf16)
          pack_rows_bf16<bf16>(t.a, t.m0, t.rows, k0, kc, padded, Op::kRowWords * 2, half);
        else
          pack_rows_bf16<float>(t.a, t.m0, t.rows, k0, kc, padded, Op::kRowWords * 2, half);
      } else {
        if (t.a.bf16)
          pack_rows_f32<kRound, bf16>(t.a, t.m0, t.rows, k0, kc, padded, Op::kRowWords, out);
        else
          pack_rows_f32<kRound, float>(t.a, t.m0, t.rows, k0, kc, padded, Op::kRowWords, out);
      }
    } else {
      const int64_t small = t.rows / micros, large = t.rows % micros, stride = kBlockK * kMicroLanes;
      float* out = reinterpret_cast<float*>(t.a_scratch) + (k0 - ks) / kBlockK * micros * stride;
      if constexpr (kPairsOfA) {
        uint32_t* pairs = reinterpret_cast<uint32_t*>(out);
        if (t.a.bf16)
          pack_lanes_pairs<bf16>(t.a, t.m0, micros, small, large, k0, kc, padded, stride, pairs);
        else
          pack_lanes_pairs<float>(t.a, t.m0, micros, small, large, k0, kc, padded, stride, pairs);
      } else {
        if (t.a.bf16)
          pack_lanes_f32<kRound, bf16>(t.a, t.m0, micros, small, large, k0, kc, padded, stride, out);
        else
          pack_lanes_f32<kRound, float>(t.a, t.m0, micros, small, large, k0, kc, padded, stride, out);
      }
    }
  }
}

// The same for tiles: rows of bf16.
constexpr int kTileRows = 32;
constexpr int64_t kTileStride = kBlockK + 32;  // bf16 from row to row of A

inline void pack_tile_rows(const GemmTile& t, int64_t ks, int64_t ke) {
  bf16* a_scratch = reinterpret_cast<bf16*>(t.a_scratch);
  for (int64_t k0 = ks; k0 < ke; k0 += kBlockK) {
    const int64_t padded = least(kBlockK, ke - k0), kc = least(padded, t.k - k0);
    bf16* out = a_scratch + (k0 - ks) / kBlockK * t.rows * kTileStride;
    if (t.a.k_contiguous) {
      if (t.a.bf16)
        pack_rows_bf16<bf16>(t.a, t.m0, t.rows, k0, kc, padded, kTileStride, out);
      else
        pack_rows_bf16<float>(t.a, t.m0, t.rows, k0, kc, padded, kTileStride, out);
    } else {
      for (int64_t m = 0; m < t.rows; m += 16) {
        if (t.a.bf16)
          pack_lanes_as_rows<bf16>(t.a, t.m0 + m, least(16, t.rows - m), k0, kc, padded, kTileStride, out + m * kTileStride);
        else
          pack_lanes_as_rows<float>(t.a, t.m0 + m, least(16, t.rows - m), k0, kc, padded, kTileStride, out + m * kTileStride);
      }
    }
  }
}

}  // namespace fathom::FATHOM_RUNG
