// One block of C from rows of int8 (int8_rows.h) and a weight packed for them (block_format.h). Codes of the weight are
// unsigned, w + 2^b: the sum over k of a (w + 2^b) is too large by 2^b times the sum of a's codes, which is known, and every
// sum starts from minus that. Included by *_cpu.cpp files, once with VNNI and once without where a rung has both.
#pragma once
#include "backend/cpu/dot_int8.h"
#include "kernels/matmul/decode_codes.h"
#include "kernels/matmul/int8_rows.h"
#include "kernels/matmul/micro.h"
#include "kernels/matmul/pack.h"

namespace fathom::FATHOM_RUNG {
namespace {

// Rows by vectors of 16 columns in registers. A scale a column: 14 x 2 sums of 64 k, as micro.h has it, then added to floats
// in memory. A scale a group: as many floats beside the integers, so half the rows. Without VNNI a vector of B takes two
// registers.
#if FATHOM_RUNG_LEVEL >= 2 && defined(FATHOM_VNNI)
constexpr int kColumnRows = 14, kGroupRows = 7;
#elif FATHOM_RUNG_LEVEL >= 2
constexpr int kColumnRows = 8, kGroupRows = 4;
#else
constexpr int kColumnRows = 2, kGroupRows = 1;
#endif
constexpr int kStreamRows = kGroupRows < 4 ? kGroupRows : 4;  // up to here a panel is read from end to end, from memory
constexpr int stream_panels(int64_t rows) { return FATHOM_RUNG_LEVEL >= 2 && rows <= 2 ? 2 : 1; }

struct Int8Args {
  const char* a;  // row r at a + r kInt8ChunkBytes; the next chunk a_chunk bytes on
  int64_t a_chunk;
  const char* b;        // the first group
  const char* factors;  // of the first 256 k
  int64_t b_panel;      // to the next panel
  int64_t k;            // a multiple of the group
  float* sums;          // [R][2 P][16]
  bool resume;
  const char* b_ahead;  // to be fetched meanwhile, b_step bytes for every 128 bytes of codes
  int64_t b_step;
};

// A format's groups.
template <WeightFormat kOf>
struct Int8Format {
  static constexpr WeightFormat kFormat = kOf;
  static constexpr Int8Layout kLayout = int8_layout(kOf);
  static constexpr bool kColumnScale = kLayout.head > 0;
  static constexpr bool kHalves = kOf == WeightFormat::kQ6_K;  // of a group have integer scales of their own
  static constexpr int kHalfRows = kGroupRows / 2 > kStreamRows ? kGroupRows / 2 : kStreamRows;
  static constexpr int kRows = kColumnScale ? kColumnRows : kHalves ? kHalfRows : kGroupRows;
  static_assert(kRows >= kStreamRows);                          // a stream's rows are one micro-tile
  static constexpr int kQuads = kLayout.code_bits < 8 ? 2 : 1;  // quads of k in 128 bytes of codes
  static constexpr int64_t kSteps = kLayout.group / (4 * kQuads);
  // Without VPDPBUSD, codes of 4, 5 and 6 bits sum in words over 32, 16 and 8 k: 2 x 15 x 127 x 8 fits, and so on.
  static constexpr int64_t kWordK = FATHOM_RUNG_LEVEL == 1 && kLayout.code_bits < 8 ? 32 >> (kLayout.code_bits - 4) : 0;
  // 4 k of 16 columns from a group's codes.
  FATHOM_INLINE static Bytes codes(const char* group, int64_t step, int quad, int half) {
    const Bytes x = load_bytes(group + step * kPanelRow + half * 64);
    if constexpr (kQuads == 1) return x;
    const Bytes nibbles = quad == 0 ? low_nibbles(x) : high_nibbles(x);
    if constexpr (kLayout.code_bits == 4) {
      return nibbles;
    } else {
      constexpr int kHigh = kLayout.code_bits - 4, kTogether = 8 / kHigh;
      const int vector = static_cast<int>(step) * 4 + quad * 2 + half;
      return join_upper(nibbles, load_bytes(group + kLayout.group * kPanel / 2 + vector / kTogether * 64),
                        vector % kTogether * kHigh, static_cast<uint8_t>((1 << kLayout.code_bits) - 16));
    }
  }
  // Of a group, 16 columns.
  FATHOM_INLINE static F32 scale(const char* factors, const char* header, int64_t half) {
    if constexpr (kOf == WeightFormat::kQ6_K) return load_f16(factors + 32 * half);
    if constexpr (kOf == WeightFormat::kQ4_K) return load_f16(factors + 32 * half) * load_u8(header + 16 * half);
    if constexpr (is_int4(kOf)) return load(reinterpret_cast<const float*>(header) + 16 * half);
    return load_f16(header + 32 * half);
  }
  FATHOM_INLINE static F32 min(const char* factors, const char* header, int64_t half) {
    if constexpr (kOf == WeightFormat::kQ4_K)
      return zero() - load_f16(factors + kPanel * 2 + 32 * half) * load_u8(header + kPanel + 16 * half);
    return load_f16(header + kPanel * 2 + 32 * half);
  }
  // The offset's share of a sum of a's codes, to be taken off.
  FATHOM_INLINE static I32 start(int32_t a_sum) {
    if constexpr (kLayout.offset_bits == 0) return set1_i32(0);
    return set1_i32(static_cast<int32_t>(0u - (static_cast<uint32_t>(a_sum) << kLayout.offset_bits)));
  }
};

// Of the group whose sum is at a_sums; sum_bytes: of the sums, behind which come as many of halves, then scales.
FATHOM_INLINE float row_scale(const char* a_sums, int64_t sum_bytes = kInt8Sums) {
  float scale;
  __builtin_memcpy(&scale, a_sums + 2 * sum_bytes, sizeof scale);
  return scale;
}
FATHOM_INLINE float scaled_sum(const char* a_sums) { return row_scale(a_sums) * static_cast<float>(load_word(a_sums)); }

// Steps [first, last) of a group's codes at b.
template <class F, int R, int V>
FATHOM_INLINE void multiply_group(const char* a, const char* b, int64_t b_panel, int64_t first, int64_t last, I32 (&acc)[R][V],
                                  const char*& b_ahead, int64_t b_step, bool stream) {
  a += first * 4 * F::kQuads;
  I32 words[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) words[r][v] = set1_i32(0);
#pragma GCC unroll 4
  for (int64_t step = first; step < last; ++step) {
    if (stream) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) prefetch(b + step * kPanelRow + v / 2 * b_panel + v % 2 * 64 + kStreamAhead);
    } else {
      prefetch(b_ahead);
      b_ahead += b_step;
    }
    if constexpr (F::kWordK > 0) {
#pragma GCC unroll 2
      for (int quad = 0; quad < 2; ++quad, a += 4) {
        Bytes column[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) column[v] = F::codes(b + v / 2 * b_panel, step, quad, v % 2);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const int32_t row = load_word(a + r * kInt8ChunkBytes);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) words[r][v] = dot4_words(words[r][v], column[v], row);
        }
      }
      if ((step + 1) * 8 % F::kWordK) continue;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          acc[r][v] = sum_words(acc[r][v], words[r][v]);
          words[r][v] = set1_i32(0);
        }
      continue;
    }
#pragma GCC unroll 2
    for (int quad = 0; quad < F::kQuads; ++quad) {
      Columns column[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) column[v] = columns(F::codes(b + v / 2 * b_panel, step, quad, v % 2));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Quad row = load_quad(a + r * kInt8ChunkBytes);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[r][v] = dot4(acc[r][v], column[v], row);
      }
      a += 4;
    }
  }
}

template <class F, int R, int P, bool kStream>
void micro_int8(const Int8Args& x) {
  constexpr int V = 2 * P;
  const char* b = x.b;
  const char* b_ahead = x.b_ahead;
  float* const out = x.sums;
  if constexpr (F::kColumnScale) {
    constexpr bool kHeld = R * V <= (FATHOM_RUNG_LEVEL >= 2 ? 8 : 2);  // there are registers for the floats
    F32 held[kHeld ? R : 1][V];
    if constexpr (kHeld)
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) held[r][v] = x.resume ? load(out + (r * V + v) * 16) : zero();
    for (int64_t k = 0; k < x.k; k += F::kLayout.group, b += int8_group_bytes(F::kFormat)) {
      const char* chunk = x.a + k / kInt8ChunkK * x.a_chunk;
      const char* a_sums = chunk + kInt8ChunkK + k % kInt8ChunkK / 32 * 4;
      I32 acc[R][V];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[r][v] = F::start(load_word(a_sums + r * kInt8ChunkBytes));
      multiply_group<F, R, V>(chunk + k % kInt8ChunkK, b, x.b_panel, 0, F::kSteps, acc, b_ahead, x.b_step, kStream);
      const bool resume = x.resume || k > 0;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 scale = set1(row_scale(a_sums + r * kInt8ChunkBytes));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          float* sum = out + (r * V + v) * 16;
          if constexpr (kHeld)
            held[r][v] = fma(to_f32(acc[r][v]), scale, held[r][v]);
          else
            store(sum, fma(to_f32(acc[r][v]), scale, resume ? load(sum) : zero()));
        }
      }
    }
    if constexpr (kHeld)
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(out + (r * V + v) * 16, held[r][v]);
  } else {
    F32 sums[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = x.resume ? load(out + (r * V + v) * 16) : zero();
    for (int64_t k = 0; k < x.k; k += F::kLayout.group) {
      const char* chunk = x.a + k / kInt8ChunkK * x.a_chunk;
      const char* a_sums = chunk + kInt8ChunkK + k % kInt8ChunkK / 32 * 4;
      const char *header = b, *codes = b + F::kLayout.header, *factors = x.factors + k / 256 * F::kLayout.factors;
      b += int8_group_bytes(F::kFormat);
      I32 acc[R][V];
      constexpr int kParts = F::kHalves ? 2 : 1;
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        I32 sum[R][V];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const char* at = a_sums + r * kInt8ChunkBytes;
          int32_t a_sum = load_word(at);
          if constexpr (F::kHalves) a_sum = part == 0 ? load_word(at + kInt8Sums) : a_sum - load_word(at + kInt8Sums);
          const I32 start = F::start(a_sum);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[r][v] = start;
        }
        multiply_group<F, R, V>(chunk + k % kInt8ChunkK, codes, x.b_panel, part * F::kSteps / kParts,
                                (part + 1) * F::kSteps / kParts, sum, b_ahead, x.b_step, kStream);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          I32 factor{};
          if constexpr (F::kHalves) factor = load_i8_i32(header + v / 2 * x.b_panel + part * kPanel + v % 2 * 16);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            if constexpr (F::kHalves)
              acc[r][v] = part == 0 ? sum[r][v] * factor : acc[r][v] + sum[r][v] * factor;
            else
              acc[r][v] = sum[r][v];
          }
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const char *of_panel = factors + v / 2 * x.b_panel, *scales = header + v / 2 * x.b_panel;
        const F32 scale = F::scale(of_panel, scales, v % 2);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
          sums[r][v] = fma(to_f32(acc[r][v]), scale * set1(row_scale(a_sums + r * kInt8ChunkBytes)), sums[r][v]);
        if constexpr (F::kLayout.has_min) {
          const F32 min = F::min(of_panel, scales, v % 2);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) sums[r][v] = fma(set1(scaled_sum(a_sums + r * kInt8ChunkBytes)), min, sums[r][v]);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(out + (r * V + v) * 16, sums[r][v]);
  }
}

using MicroInt8 = void (*)(const Int8Args&);
template <class F, bool kStream, int R>
MicroInt8 pick_int8(int rows) {
  if constexpr (R == 0) {
    return nullptr;
  } else {
    constexpr int P = kStream ? stream_panels(R) : 1;
    return rows == R ? micro_int8<F, R, P, kStream> : pick_int8<F, kStream, R - 1>(rows);
  }
}

// Finished sums of `rows` rows by `vectors` vectors, in place: times the scales of the columns, where they have one. `head`: of
// the panel of vector 0.
template <class F>
void scale_columns(int64_t rows, int64_t vectors, const char* head, int64_t panel_bytes, float* sums) {
  if constexpr (F::kColumnScale)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < vectors; ++v, sums += 16)
        store(sums, load(sums) * load_floats(head + v / 2 * panel_bytes + v % 2 * 64));
}

// Rows of the block for k in [ks, ke): chunk by chunk, a row at every kInt8ChunkBytes.
inline void pack_int8_rows(const GemmTile& t, int64_t ks, int64_t ke) {
  char* out = t.a_scratch;
  for (int64_t k0 = ks; k0 < ke; k0 += kInt8ChunkK)
    for (int64_t m = 0; m < t.rows; ++m, out += kInt8ChunkBytes)
      __builtin_memcpy(out, memory_row<char>(t.a, t.m0 + m) + k0 / kInt8ChunkK * kInt8ChunkBytes, kInt8ChunkBytes);
}

template <class F>
void tile_int8(const GemmTile& t) {
  constexpr int64_t kGroup = F::kLayout.group, kGroupBytes = int8_group_bytes(F::kFormat);
  const bool stream = t.rows <= kStreamRows;
  const int64_t micros = (t.rows + F::kRows - 1) / F::kRows, small = t.rows / micros, large = t.rows % micros;
  const int64_t k_end = round_up(t.k, kGroup), super_k = round_up(t.super_k, kInt8ChunkK);
  const int64_t wanted = stream ? stream_panels(t.rows) : 1;
  for (int64_t ks = 0; ks < k_end; ks += super_k) {
    const int64_t ke = least(k_end, ks + super_k);
    pack_int8_rows(t, ks, ke);
    for (int64_t panel = 0; panel < t.panels; panel += wanted) {
      const int64_t column = (t.panel0 + panel) * kPanel;
      const char* head = t.packed + (t.panel0 + panel) * t.panel_bytes;
      const auto group_at = [&](int64_t k) { return head + int8_head_bytes(F::kFormat, t.k) + k / kGroup * kGroupBytes; };
      float* slots = t.partial + (super_k >= k_end ? 0 : panel * micros * F::kRows * kPanel);
      // A last panel on its own where two go together: its sums are computed twice, and once thrown away.
      const int64_t together = least(wanted, t.panels - panel), b_panel = together < wanted ? 0 : t.panel_bytes;
      const int64_t step = stream ? ke - ks : kInt8ChunkK;
      for (int64_t k0 = ks; k0 < ke; k0 += step) {
        const int64_t k1 = least(ke, k0 + step);
        int64_t m = 0;
        for (int64_t i = 0; i < micros; ++i) {
          const int rows = static_cast<int>(small + (i < large));
          Int8Args x;
          x.a = t.a_scratch + ((k0 - ks) / kInt8ChunkK * t.rows + m) * kInt8ChunkBytes;
          x.a_chunk = t.rows * kInt8ChunkBytes;
          x.b = group_at(k0);
          x.factors = head + F::kLayout.head + k0 / 256 * F::kLayout.factors;
          x.b_panel = b_panel;
          x.k = k1 - k0;
          x.sums = slots + i * F::kRows * kPanel;
          x.resume = k0 > 0;
          const int64_t steps = (k1 - k0) / kGroup * F::kSteps, bytes = (k1 - k0) / kGroup * kGroupBytes;
          x.b_step = bytes / (micros * steps) + 1;
          x.b_ahead = group_at(k1) + i * steps * x.b_step;
          (stream ? pick_int8<F, true, kStreamRows>(rows) : pick_int8<F, false, F::kRows>(rows))(x);
          if (k1 == k_end) {
            scale_columns<F>(rows, 2 * wanted, head, b_panel, x.sums);
            finish_rows(t, t.m0 + m, rows, column, least(together * kPanel, t.n - column), x.sums, wanted * kPanel);
          }
          m += rows;
        }
      }
    }
  }
}

// Calls body with an Int8Format of the weight's format.
template <class Body>
void with_int8_format(WeightFormat format, const Body& body) {
  switch (format) {
    case WeightFormat::kInt8Row:
      return body(Int8Format<WeightFormat::kInt8Row>());
    case WeightFormat::kQ8_0:
      return body(Int8Format<WeightFormat::kQ8_0>());
    case WeightFormat::kQ4_0:
      return body(Int8Format<WeightFormat::kQ4_0>());
    case WeightFormat::kQ4_1:
      return body(Int8Format<WeightFormat::kQ4_1>());
    case WeightFormat::kQ5_0:
      return body(Int8Format<WeightFormat::kQ5_0>());
    case WeightFormat::kQ4_K:
      return body(Int8Format<WeightFormat::kQ4_K>());
    case WeightFormat::kQ6_K:
      return body(Int8Format<WeightFormat::kQ6_K>());
    case WeightFormat::kInt4Group32:
    case WeightFormat::kInt4Group128:
      return body(Int8Format<WeightFormat::kInt4Group32>());
    default:
      __builtin_unreachable();  // gemm() takes no other
  }
}

void gemm_int8(const GemmTile& t) {
  with_int8_format(t.weight_format, [&](auto format) { tile_int8<decltype(format)>(t); });
}

int64_t int8_a_bytes(int64_t rows, int64_t super_k, bool) {
  return (super_k + kInt8ChunkK - 1) / kInt8ChunkK * rows * kInt8ChunkBytes;
}
int64_t int8_partial_bytes(int64_t rows, int64_t panels, int64_t k, int64_t super_k) {
  return (super_k >= k ? 2 : panels + 1) * (rows + 32) * kPanel * 4;
}
constexpr GemmKernels kInt8Kernels = {nullptr,  PanelFormat::kPairs, kColumnRows, int8_a_bytes, int8_partial_bytes, 4,
                                      gemm_int8};

}  // namespace
}  // namespace fathom::FATHOM_RUNG
