// The GEMM of every linear layer: C[m,n] (+)= sum over k of A(m,k) B(k,n), for one product or a list of them (experts).
//
// Operands are views that are packed on the fly into panels, or B was packed before (PackedMatrix); the bits are the
// same. Each element of C is one chain over k in rising order, continued across blocks of k, never split between
// threads: it depends on row m of A and column n of B only. `accumulate` adds the finished sum once to the old value.
//   f32:  one fused multiply-add per k (every rung)
//   bf16: operands rounded to nearest even; avx512_bf16: VDPBF16PS over pairs of k; amx: TDPBF16PS over groups of 32 k
//   bf16 where there is no such product (avx512_vnni and below): by integers. Of each 32 k of a row of A and of a column of B
//         a = round(x / s), s = 2^(exponent of the largest |x| - 12), of x rounded to bf16: exact unless x is below 2^-5 of the
//         largest. 32 products of such integers stay below 2^31; sum = fma(float(their sum), s of B * s of A, sum), group
//         after group. A value that is not finite makes s NaN
//   B in blocks (block_format.h): a chain, of FMAs where none is said above, runs over the k of a group from zero, on the exact
//   integers of the codes;
//         then sum = fma(chain, scale, sum), group after group; formats with a minimum: sum = fma(a, min, sum), where a is
//         the sum of the group's operands of A (lane i of 16: of each 32 k 2i and 2i + 1 of pairs, i and i + 16 of floats; of
//         16 k i). Chains of FMAs over formats that store code + offset multiply what is stored, and begin at -offset a
//   bf16 by integer codes there: rows of A likewise, with 2^(exponent - 14), exact unless x is below 2^-7 of the largest. The
//         sum over a group, or 32 k of a larger one, is one of integers; sum = fma(float(it), scale * s, sum), with a minimum
//         then sum = fma(s * float(sum of a), min, sum). E4M3 is widened and multiplied by FMAs
//   A in int8 (int8_rows.h): sums of products of codes over a group of the row are exact integers, so the same on every rung.
//         A scale a column: sum = fma(float(group's sum), row's scale, sum), group after group; the end times the column's
//         scale. A scale a group: sum = fma(float(group's sum), scale * row's scale, sum), with a minimum then
//         sum = fma(row's scale * float(sum of A's codes), min, sum)
#pragma once
#include <span>

#include "kernels/matmul/kernel.h"
#include "kernels/matmul/packed.h"

namespace fathom {

struct GemmProblem {
  MatrixView a, b;
  const void* packed = nullptr;  // a PackedMatrix::Piece of a [n, k] weight; then `b` is not read
  WeightFormat packed_format = WeightFormat::kPlain;
  // A in int8: a.data are the codes of Int8Rows for packed_format, a.ld their row's bytes; all problems of a list alike.
  // `packed` was packed for it.
  bool a_int8 = false;
  int64_t m = 0, n = 0, k = 0;
  void* c = nullptr;  // [m, n], rows ldc apart
  int64_t ldc = 0;
  const void* bias = nullptr;  // [n] or null
  bool bias_bf16 = false;
};
struct GemmOptions {
  Compute compute = Compute::kF32;
  bool c_bf16 = false;      // C is bf16: rounded once, after bias and accumulation
  bool accumulate = false;  // where k == 0 nothing is added, otherwise C is zeroed
};

// One parallel region for the whole list. All problems have B packed, or none has.
void gemm(std::span<const GemmProblem> problems, const GemmOptions& options);

// Of a weight without blocks, as gemm() takes it on isa().
PanelFormat panel_format(Compute compute);

// Tests run the bf16 engines of other rungs through their emulators; kTiles also the int8 one of AMX.
enum class Bf16Engine { kOfRung, kWiden, kDot, kTiles };
void set_bf16_engine_for_test(Bf16Engine engine);

}  // namespace fathom
