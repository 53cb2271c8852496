// AMX tiles: eight of up to 16 rows of 64 bytes, numbered at compile time. Emulated below the amx rung, same bits, so
// that a kernel written over this vocabulary is tested on every machine. Included only by *_cpu.cpp files.
#pragma once
#include "backend/cpu/emulate.h"
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

#if FATHOM_RUNG_LEVEL >= 4

struct Tiles {
  struct alignas(64) Shape {  // operand of LDTILECFG
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  // rows[i]: rows of tile i, 0 where unused; a row has 64 bytes, or row_bytes[i]. The tiles are zero afterwards.
  FATHOM_INLINE void configure(const uint8_t* rows, const uint8_t* row_bytes = nullptr) {
    Shape shape;
    for (int i = 0; i < 8; ++i) {
      shape.rows[i] = rows[i];
      shape.row_bytes[i] = rows[i] ? (row_bytes ? row_bytes[i] : 64) : 0;
    }
    _tile_loadconfig(&shape);
  }
  FATHOM_INLINE void release() { _tile_release(); }
  // Macros in the header of the compiler want literals: one instruction each, by number.
  template <int T>
  FATHOM_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  template <int T>
  FATHOM_INLINE void load(const void* p, int64_t stride_bytes) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(p), "r"(stride_bytes) : "memory");
  }
  template <int T>
  FATHOM_INLINE void store(void* p, int64_t stride_bytes) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(p), "r"(stride_bytes) : "memory");
  }
  // C += A B over 16 pairs of k. A: rows of m, pairs of k; B: rows of pairs of k, columns of n.
  template <int C, int A, int B>
  FATHOM_INLINE void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
  // The same over quads of k in 32-bit integers; A: signed bytes, B: unsigned. B has as many rows as A has quads in one.
  template <int C, int A, int B>
  FATHOM_INLINE void dot_int8() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

#else

struct Tiles {
  uint8_t rows_[8] = {}, row_bytes_[8] = {};
  uint32_t tile_[8][16][16];
  FATHOM_INLINE void configure(const uint8_t* rows, const uint8_t* row_bytes = nullptr) {
    std::memcpy(rows_, rows, sizeof rows_);
    for (int i = 0; i < 8; ++i) row_bytes_[i] = row_bytes ? row_bytes[i] : 64;
    std::memset(tile_, 0, sizeof tile_);
  }
  FATHOM_INLINE void release() {}
  template <int T>
  FATHOM_INLINE void zero() {
    std::memset(tile_[T], 0, sizeof tile_[T]);
  }
  template <int T>
  FATHOM_INLINE void load(const void* p, int64_t stride_bytes) {
    for (int i = 0; i < rows_[T]; ++i) std::memcpy(tile_[T][i], static_cast<const char*>(p) + i * stride_bytes, row_bytes_[T]);
  }
  template <int T>
  FATHOM_INLINE void store(void* p, int64_t stride_bytes) {
    for (int i = 0; i < rows_[T]; ++i) std::memcpy(static_cast<char*>(p) + i * stride_bytes, tile_[T][i], row_bytes_[T]);
  }
  template <int C, int A, int B>
  FATHOM_INLINE void dot_bf16() {
    for (int m = 0; m < rows_[C]; ++m)
      for (int n = 0; n < 16; ++n) {
        const float sum = __builtin_bit_cast(float, tile_[C][m][n]);
        tile_[C][m][n] = __builtin_bit_cast(uint32_t, emulate_tile_dot(sum, tile_[A][m], &tile_[B][0][n], 16, 16));
      }
  }
  template <int C, int A, int B>
  FATHOM_INLINE void dot_int8() {
    for (int m = 0; m < rows_[C]; ++m)
      for (int n = 0; n < 16; ++n)
        tile_[C][m][n] = emulate_tile_dot_int8(tile_[C][m][n], tile_[A][m], &tile_[B][0][n], 16, row_bytes_[A] / 4);
  }
};

#endif

}  // namespace fathom::FATHOM_RUNG
