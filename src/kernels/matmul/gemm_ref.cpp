#include "kernels/matmul/gemm_ref.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/emulate.h"
#include "backend/cpu/isa.h"
#include "tensor/format/e4m3.h"

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

// Bias, old value, rounding.
void finish(const GemmProblem& g, const GemmOptions& options, int64_t m, int64_t n, float s) {
  if (g.bias) s = s + (g.bias_bf16 ? to_float(static_cast<const bf16*>(g.bias)[n]) : static_cast<const float*>(g.bias)[n]);
  if (options.c_bf16) {
    bf16& c = static_cast<bf16*>(g.c)[m * g.ldc + n];
    c = to_bf16(options.accumulate ? to_float(c) + s : s);
  } else {
    float& c = static_cast<float*>(g.c)[m * g.ldc + n];
    c = options.accumulate ? c + s : s;
  }
}

}  // namespace

void gemm_reference(const GemmProblem& g, const GemmOptions& options, GemmOrder order) {
  for (int64_t m = 0; m < g.m; ++m)
    for (int64_t n = 0; n < g.n; ++n) {
      if (g.k == 0 && options.accumulate) continue;
      finish(g, options, m, n, sum(g, m, n, order));
    }
}

void gemm_reference_fp8(const GemmProblem& g, const WeightPart& weight, const GemmOptions& options, GemmOrder order) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(weight.values.raw());
  const int64_t ld = weight.values.row_stride();
  for (int64_t n = 0; n < g.n; ++n) {
    std::vector<float> row(static_cast<size_t>(g.k));
    for (int64_t k = 0; k < g.k; ++k)
      row[static_cast<size_t>(k)] = e4m3_to_float(weight.transposed ? bytes[k * ld + n] : bytes[n * ld + k]) * kFp8Widened;
    for (int64_t m = 0; m < g.m; ++m) {
      float s = 0;
      for (int64_t k0 = 0; k0 < g.k; k0 += kFp8Block) {
        GemmProblem block = g;
        block.k = std::min(kFp8Block, g.k - k0);
        block.a.data = static_cast<const char*>(g.a.data) + k0 * (g.a.bf16 ? 2 : 4);
        block.b = {row.data() + k0, 0, nullptr, false, true};
        // A chain over an odd number of k has no padding here.
        float chain = 0;
        if (order == GemmOrder::kF32 || order == GemmOrder::kWiden) {
          for (int64_t k = 0; k < block.k; ++k) {
            const float a = element(block.a, m, k);
            chain =
                __builtin_fmaf(order == GemmOrder::kF32 ? a : to_float(to_bf16(a)), row[static_cast<size_t>(k0 + k)], chain);
          }
        } else {
          chain = sum(block, m, 0, order);
        }
        const int64_t r = weight.first_row + (weight.transposed ? k0 : n), c = weight.transposed ? n : k0;
        s = __builtin_fmaf(chain, weight.scales.row<float>(r / kFp8Block)[c / kFp8Block] / kFp8Widened, s);
      }
      finish(g, options, m, n, s);
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
