#include "kernels/matmul/gemm_ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu/emulate.h"
#include "backend/cpu/isa.h"
#include "kernels/matmul/int8_rows.h"
#include "tensor/format/block_bytes.h"
#include "tensor/format/e4m3.h"
#include "tensor/format/k_scales.h"

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

float sum(const GemmProblem& g, int64_t m, int64_t n, GemmOrder order, float s = 0) {
  if (order == GemmOrder::kF32) {
    for (int64_t k = 0; k < g.k; ++k) s = __builtin_fmaf(element(g.a, m, k), element(g.b, n, k), s);
  } else if (order == GemmOrder::kWiden) {  // of a group of blocks: a plain weight goes by integers
    for (int64_t k = 0; k < g.k; ++k)
      s = __builtin_fmaf(to_float(to_bf16(element(g.a, m, k))), to_float(to_bf16(element(g.b, n, k))), s);
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

const uint8_t* q6_k_block(const WeightPart& w, int64_t n, int64_t k) {
  return reinterpret_cast<const uint8_t*>(w.values.raw()) + n * w.values.row_stride() + k / 256 * ggml_type_info(w.type).bytes;
}
float q6_k_factor(const WeightPart& w, int64_t n, int64_t k) { return load_f16(q6_k_block(w, n, k) + 208); }
int32_t q6_k_scale(const WeightPart& w, int64_t n, int64_t k) {  // of 16 k
  return static_cast<int8_t>(q6_k_block(w, n, k)[192 + k % 256 / 16]);
}

// A row of a weight in blocks: the integer of every k (E4M3: value / 256), and by group its scale and minimum.
struct BlockRow {
  std::vector<float> codes, scales, mins;
};
BlockRow block_row(const WeightPart& w, int64_t n, int64_t k_end) {
  BlockRow row;
  row.codes.resize(static_cast<size_t>(k_end));
  const uint8_t* base = reinterpret_cast<const uint8_t*>(w.values.raw());
  const int64_t ld = w.values.row_stride();
  const WeightFormat format = w.format();
  const int64_t group = block_layout(format).group, groups = (padded_k(k_end) + group - 1) / group;
  row.scales.resize(static_cast<size_t>(groups));
  if (block_layout(format).has_min) row.mins.resize(static_cast<size_t>(groups));
  const GgmlTypeInfo& info = ggml_type_info(w.type);
  const auto block = [&](int64_t k) { return base + n * ld + k / info.block * info.bytes; };
  for (int64_t k = 0; k < k_end; ++k) {
    const int64_t i = k % 32, j = k % 256;
    int code = 0;
    if (format == WeightFormat::kFp8Block) {
      row.codes[static_cast<size_t>(k)] = e4m3_to_float(w.transposed ? base[k * ld + n] : base[n * ld + k]) * kFp8Widened;
      continue;
    } else if (format == WeightFormat::kInt8Row) {
      code = static_cast<int8_t>(base[n * ld + k]);
    } else if (is_int4(format)) {
      code = (base[n * ld * 4 + k / 2] >> (k % 2 * 4) & 15) - 8;
    } else if (format == WeightFormat::kQ8_0) {
      code = static_cast<int8_t>(block(k)[2 + i]);
    } else if (format == WeightFormat::kQ4_0) {
      code = (block(k)[2 + i % 16] >> (i < 16 ? 0 : 4) & 15) - 8;
    } else if (format == WeightFormat::kQ4_1) {
      code = block(k)[4 + i % 16] >> (i < 16 ? 0 : 4) & 15;
    } else if (format == WeightFormat::kQ5_0) {
      code = (block(k)[6 + i % 16] >> (i < 16 ? 0 : 4) & 15) + 16 * (block(k)[2 + i / 8] >> (i % 8) & 1) - 16;
    } else if (format == WeightFormat::kQ4_K) {
      code = block(k)[16 + j / 64 * 32 + i] >> (j / 32 % 2 * 4) & 15;
    } else {
      const int64_t half = j / 128, quarter = j / 32 % 4;
      code = (block(k)[64 * half + 32 * (quarter % 2) + i] >> (quarter / 2 * 4) & 15) +
             16 * (block(k)[128 + 32 * half + i] >> (2 * quarter) & 3) - 32;
    }
    row.codes[static_cast<size_t>(k)] = static_cast<float>(code);
  }
  for (int64_t s = 0; s < groups; ++s) {
    const int64_t k = s * group;
    float &scale = row.scales[static_cast<size_t>(s)], *min = row.mins.empty() ? nullptr : &row.mins[static_cast<size_t>(s)];
    if (format == WeightFormat::kFp8Block) {
      const int64_t r = w.first_row + (w.transposed ? k : n), c = w.transposed ? n : k;
      scale = w.scales.row<float>(r / kFp8Block)[c / kFp8Block] / kFp8Widened;
    } else if (format == WeightFormat::kInt8Row) {
      scale = w.scales.data<float>()[n];
    } else if (is_int4(format)) {
      scale = w.scales.row<float>(n)[s];
    } else if (format == WeightFormat::kQ4_K) {
      const KScale packed = unpack_k_scale(block(k) + 4, static_cast<int>(k % 256 / 32));
      scale = load_f16(block(k)) * static_cast<float>(packed.scale);
      *min = -(load_f16(block(k) + 2) * static_cast<float>(packed.min));
    } else if (format == WeightFormat::kQ6_K) {
      scale = q6_k_factor(w, n, k) * static_cast<float>(q6_k_scale(w, n, k));
    } else {
      scale = load_f16(block(k));
      if (min) *min = load_f16(block(k) + 2);
    }
  }
  return row;
}
// The sum of a group's operands of A, 16 or a multiple of 32, as the kernels take it: 16 lanes, then their tree.
float sum_of_group(std::span<const float> a, GemmOrder order) {
  const bool pairs = order != GemmOrder::kF32;
  float lanes[16];
  for (size_t k = 0; k < a.size(); k += 32)
    for (size_t i = 0; i < 16; ++i) {
      const auto at = [&](size_t j) { return pairs ? to_float(to_bf16(a[k + j])) : a[k + j]; };
      const float two = a.size() == 16 ? at(i) : pairs ? at(2 * i) + at(2 * i + 1) : at(i) + at(i + 16);
      lanes[i] = k == 0 ? two : lanes[i] + two;
    }
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// A lane as 16-bit integers of `bits` bits, and the power of two that each 32 of them are multiplied with (NaN: not finite).
struct WordsOfLane {
  std::vector<int64_t> words;
  std::vector<float> scales;
};
WordsOfLane words_of_lane(const MatrixView& v, int64_t lane, int64_t k_end, int bits) {
  WordsOfLane row;
  for (int64_t k0 = 0; k0 < k_end; k0 += 32) {
    float a[32] = {}, largest = 0;
    bool finite = true;
    for (int64_t k = k0; k < std::min(k_end, k0 + 32); ++k) {
      a[k - k0] = to_float(to_bf16(element(v, lane, k)));
      finite &= std::isfinite(a[k - k0]);
      largest = std::max(largest, std::fabs(a[k - k0]));
    }
    const int least = bits - 127;  // the power of two is a normal float
    const float scale = std::ldexp(1.f, (largest < std::ldexp(1.f, least) ? least : std::ilogb(largest)) - (bits - 1));
    row.scales.push_back(finite ? scale : std::nanf(""));
    for (const float x : a) row.words.push_back(finite ? std::lrint(x / scale) : 0);
  }
  return row;
}
// Both sides as integers: a group of 32 k after the other.
void reference_plain_words(const GemmProblem& g, const GemmOptions& options) {
  std::vector<WordsOfLane> columns;
  for (int64_t n = 0; n < g.n; ++n) columns.push_back(words_of_lane(g.b, n, g.k, kWordBits));
  for (int64_t m = 0; m < g.m; ++m) {
    const WordsOfLane a = words_of_lane(g.a, m, g.k, kWordBits);
    for (int64_t n = 0; n < g.n; ++n) {
      const WordsOfLane& b = columns[static_cast<size_t>(n)];
      float s = 0;
      for (size_t group = 0; group < a.scales.size(); ++group) {
        int64_t dot = 0;
        for (size_t k = group * 32; k < group * 32 + 32; ++k) dot += a.words[k] * b.words[k];
        s = __builtin_fmaf(static_cast<float>(dot), b.scales[group] * a.scales[group], s);
      }
      finish(g, options, m, n, s);
    }
  }
}

}  // namespace

void gemm_reference(const GemmProblem& g, const GemmOptions& options, GemmOrder order) {
  if (order == GemmOrder::kWiden && g.k > 0) return reference_plain_words(g, options);
  for (int64_t m = 0; m < g.m; ++m)
    for (int64_t n = 0; n < g.n; ++n) {
      if (g.k == 0 && options.accumulate) continue;
      finish(g, options, m, n, sum(g, m, n, order));
    }
}

namespace {

// Chains of integers, in the order of gemm.h.
void reference_words(const GemmProblem& g, const WeightPart& weight, const GemmOptions& options) {
  const int64_t of_scale = block_layout(weight.format()).group, group = std::min<int64_t>(32, of_scale);
  for (int64_t m = 0; m < g.m; ++m) {
    const WordsOfLane a = words_of_lane(g.a, m, g.k, kWordBitsByCodes);
    for (int64_t n = 0; n < g.n; ++n) {
      const BlockRow row = block_row(weight, n, g.k);
      float s = 0;
      for (int64_t k0 = 0; k0 < padded_k(g.k); k0 += group) {
        int64_t dot = 0, sum = 0;
        for (int64_t k = k0; k < std::min(g.k, k0 + group); ++k) {
          dot += a.words[static_cast<size_t>(k)] * static_cast<int64_t>(row.codes[static_cast<size_t>(k)]);
          sum += a.words[static_cast<size_t>(k)];
        }
        const size_t index = static_cast<size_t>(k0 / of_scale);
        const float scale = a.scales[static_cast<size_t>(k0 / 32)];
        s = __builtin_fmaf(static_cast<float>(dot), row.scales[index] * scale, s);
        if (!row.mins.empty()) s = __builtin_fmaf(scale * static_cast<float>(sum), row.mins[index], s);
      }
      finish(g, options, m, n, s);
    }
  }
}

}  // namespace

void gemm_reference_blocks(const GemmProblem& g, const WeightPart& weight, const GemmOptions& options, GemmOrder order) {
  if (order == GemmOrder::kWiden && has_integer_codes(weight.format())) return reference_words(g, weight, options);
  const int64_t group = block_layout(weight.format()).group, padded = padded_k(g.k);
  const float offset = order == GemmOrder::kF32 ? static_cast<float>(block_layout(weight.format()).offset) : 0.f;
  for (int64_t n = 0; n < g.n; ++n) {
    BlockRow row = block_row(weight, n, g.k);
    for (float& code : row.codes) code += offset;
    for (int64_t m = 0; m < g.m; ++m) {
      float s = 0;
      for (int64_t k0 = 0; k0 < padded; k0 += group) {
        // The group's operands of A, with zeros behind the last k.
        std::vector<float> a(static_cast<size_t>(std::max<int64_t>(32, group)), 0.f), b = a;
        const int64_t end = std::min(padded, k0 + group);
        // A tile step takes 32 k: a group of 16 has zeros of B in the half that is not its own.
        const bool half = order == GemmOrder::kTiles && group == 16;
        const int64_t shift = half ? k0 % 32 : 0, from = k0 - shift;
        for (int64_t k = from; k < std::min(g.k, half ? from + 32 : end); ++k)
          a[static_cast<size_t>(k - from)] = element(g.a, m, k);
        for (int64_t k = k0; k < std::min(g.k, end); ++k) b[static_cast<size_t>(k - from)] = row.codes[static_cast<size_t>(k)];
        const std::span<const float> of_group =
            std::span(a).first(static_cast<size_t>(std::max(std::min<int64_t>(32, group), end - k0)));
        GemmProblem block;
        block.k = half ? 32 : end - k0;
        block.a = {a.data(), 0, nullptr, false, true};
        block.b = {b.data(), 0, nullptr, false, true};
        const size_t index = static_cast<size_t>(k0 / group);
        const float start = offset ? -offset * sum_of_group(of_group, order) : 0.f;
        s = __builtin_fmaf(sum(block, 0, 0, order, start), row.scales[index], s);
        if (!row.mins.empty()) s = __builtin_fmaf(sum_of_group(of_group, order), row.mins[index], s);
      }
      finish(g, options, m, n, s);
    }
  }
}

void gemm_reference_int8(const GemmProblem& g, const WeightPart& weight, const GemmOptions& options) {
  const bool column_scale = int8_layout(weight.format()).head > 0, halves = weight.format() == WeightFormat::kQ6_K;
  const int64_t group = int8_layout(weight.format()).group;
  for (int64_t n = 0; n < g.n; ++n) {
    const BlockRow row = block_row(weight, n, g.k);
    for (int64_t m = 0; m < g.m; ++m) {
      const int64_t memory_row = g.a.rows ? g.a.rows[m] : m;
      const int8_t* codes = static_cast<const int8_t*>(g.a.data) + memory_row * g.a.ld;
      float s = 0;
      for (int64_t k0 = 0; k0 < g.k; k0 += group) {
        int32_t dot = 0, a_sum = 0;
        for (int64_t k = k0; k < std::min(g.k, k0 + group); ++k) {
          const int32_t a = codes[int8_code_at(k)];
          dot += a * static_cast<int32_t>(row.codes[static_cast<size_t>(k)]) * (halves ? q6_k_scale(weight, n, k) : 1);
          a_sum += a;
        }
        const size_t index = static_cast<size_t>(k0 / block_layout(weight.format()).group);
        float scale;
        std::memcpy(&scale, codes + int8_scale_at(k0), 4);
        const float factor = column_scale ? 1.f : halves ? q6_k_factor(weight, n, k0) : row.scales[index];
        s = __builtin_fmaf(static_cast<float>(dot), factor * scale, s);
        if (!row.mins.empty()) s = __builtin_fmaf(scale * static_cast<float>(a_sum), row.mins[index], s);
      }
      finish(g, options, m, n, column_scale ? s * row.scales[0] : s);
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
