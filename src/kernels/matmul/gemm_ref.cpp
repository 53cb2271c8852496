#include "kernels/matmul/gemm_ref.h"

#include <vector>

#include "backend/cpu/emulate.h"
#include "backend/cpu/isa.h"

namespace fathom {
namespace {

float element(const MatrixView& v, int64_t lane, int64_t k) {
  const int64_t row = v.k_contiguous ? lane : k, column = v.k_contiguous ? k : lane;
  const int64_t at = (v.rows ? v.rows[row] : row) * v.ld + column;
  return v.bf16 ? to_float(static_cast<const bf16*>(v.data)[at]) : static_cast<const float*>(v.data)[at];
}
uint32_t pair(const MatrixView& v, int64_t lane, int64_t k, int64_t end) {
  const uint32_t even = k < end ? to_bf16(element(v, lane, k)).bits : 0,
                 odd = k + 1 < end ? to_bf16(element(v, lane, k + 1)).bits : 0;
  return even | odd << 16;
}

float sum(const GemmProblem& g, int64_t m, int64_t n, GemmOrder order) {
  float s = 0;
  if (order == GemmOrder::kF32) {
    for (int64_t k = 0; k < g.k; ++k) s = __builtin_fmaf(element(g.a, m, k), element(g.b, n, k), s);
  } else if (order == GemmOrder::kWiden) {
    for (int64_t k = 0; k < g.k; ++k)
      s = __builtin_fmaf(to_float(to_bf16(element(g.a, m, k))), to_float(to_bf16(element(g.b, n, k))), s);
    if (g.k % 2) s = __builtin_fmaf(0.f, 0.f, s);  // k is padded to even: turns -0 into 0
  } else if (order == GemmOrder::kDot) {
    for (int64_t k = 0; k < g.k; k += 2) s = emulate_dot2(s, pair(g.a, m, k, g.k), pair(g.b, n, k, g.k));
  } else {
    for (int64_t k = 0; k < g.k; k += 32) {
      uint32_t a[16], b[16];
      for (int i = 0; i < 16; ++i) {
        a[i] = pair(g.a, m, k + 2 * i, g.k);
        b[i] = pair(g.b, n, k + 2 * i, g.k);
      }
      s = emulate_tile_dot(s, a, b, 1, 16);
    }
  }
  return s;
}

}  // namespace

void gemm_reference(const GemmProblem& g, const GemmOptions& options, GemmOrder order) {
  for (int64_t m = 0; m < g.m; ++m)
    for (int64_t n = 0; n < g.n; ++n) {
      if (g.k == 0 && options.accumulate) continue;
      float s = sum(g, m, n, order);
      if (g.bias) s = s + (g.bias_bf16 ? to_float(static_cast<const bf16*>(g.bias)[n]) : static_cast<const float*>(g.bias)[n]);
      if (options.c_bf16) {
        bf16& c = static_cast<bf16*>(g.c)[m * g.ldc + n];
        c = to_bf16(options.accumulate ? to_float(c) + s : s);
      } else {
        float& c = static_cast<float*>(g.c)[m * g.ldc + n];
        c = options.accumulate ? c + s : s;
      }
    }
}

GemmOrder gemm_order(Compute compute) {
  if (compute == Compute::kF32) return GemmOrder::kF32;
  return isa() == Isa::kAmx ? GemmOrder::kTiles : isa() == Isa::kAvx512Bf16 ? GemmOrder::kDot : GemmOrder::kWiden;
}

double gemm_exact(const GemmProblem& g, int64_t m, int64_t n) {
  double s = 0;
  for (int64_t k = 0; k < g.k; ++k) s += static_cast<double>(element(g.a, m, k)) * static_cast<double>(element(g.b, n, k));
  return s;
}

}  // namespace fathom
