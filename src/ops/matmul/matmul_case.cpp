#include "ops/matmul/matmul_case.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "kernels/matmul/random_part.h"

namespace fathom {
namespace {

using enum MatmulRole;
constexpr Compute kF = Compute::kF32, kH = Compute::kBF16;

constexpr MatmulCase kTestCases[] = {
    {kForward, 1, 1, 1, 0, kF, DType::kF32},           {kForward, 3, 33, 65, 0, kH, DType::kBF16},
    {kForward, 29, 70, 130, 0, kH, DType::kF32},       {kForwardPacked, 1, 100, 257, 0, kH, DType::kBF16},
    {kForwardPacked, 5, 31, 33, 0, kF, DType::kF32},   {kBackwardInput, 17, 40, 51, 0, kH, DType::kBF16},
    {kBackwardInput, 2, 3, 300, 0, kF, DType::kF32},   {kBackwardWeight, 100, 37, 45, 0, kH, DType::kBF16},
    {kBackwardWeight, 1, 65, 2, 0, kF, DType::kF32},   {kForward, 41, 33, 20, 4, kH, DType::kBF16},
    {kForwardPacked, 7, 40, 64, 5, kF, DType::kF32},   {kBackwardInput, 41, 33, 20, 4, kH, DType::kF32},
    {kBackwardWeight, 41, 33, 20, 4, kF, DType::kF32},
};

constexpr MatmulCase kBenchCases[] = {
    // large: what the engine can do
    {kForward, 2048, 2048, 2048, 0, kF, DType::kF32},
    {kForward, 2048, 2048, 2048},
    {kBackwardInput, 2048, 2048, 2048},
    {kBackwardWeight, 2048, 2048, 2048},
    {kForward, 512, 512, 512, 0, kF, DType::kF32},
    {kForward, 512, 512, 512},
    {kBackwardInput, 512, 512, 512},
    {kBackwardWeight, 512, 512, 512},
    // a small model's training step: 2,048 tokens
    {kForward, 2048, 256, 256},
    {kBackwardInput, 2048, 256, 256},
    {kBackwardWeight, 2048, 256, 256},
    {kForward, 2048, 64, 256},
    {kBackwardInput, 2048, 64, 256},
    {kBackwardWeight, 2048, 64, 256},
    {kForward, 2048, 128, 64},
    {kForward, 2048, 512, 256},
    // its experts: 512 rows each
    {kForward, 4096, 256, 256, 8},
    {kBackwardInput, 4096, 256, 256, 8},
    {kBackwardWeight, 4096, 256, 256, 8},
    // many experts with 48 rows
    {kForward, 768, 256, 256, 16},
    {kForwardPacked, 3072, 1024, 512, 64},
    {kBackwardInput, 768, 256, 256, 16},
    {kBackwardWeight, 768, 256, 256, 16},
    // prefill and decode over packed weights
    {kForwardPacked, 512, 4096, 2048},
    {kForwardPacked, 16, 8192, 8192},
    {kForwardPacked, 4, 8192, 8192},
    {kForwardPacked, 1, 8192, 8192},
    {kForwardPacked, 1, 8192, 8192, 0, kF, DType::kF32},
    {kForwardPacked, 512, 17920, 1536},  // Qwen2-1.5B: gate and up, down, [q; k; v]
    {kForwardPacked, 512, 1536, 8960},
    {kForwardPacked, 512, 2048, 1536},
};

// Over weights in blocks: prefill, experts, and few rows, which memory binds.
constexpr WeightFormat kBlockFormats[] = {WeightFormat::kFp8Block,    WeightFormat::kInt8Row, WeightFormat::kQ8_0,
                                          WeightFormat::kQ4_0,        WeightFormat::kQ4_1,    WeightFormat::kQ5_0,
                                          WeightFormat::kQ4_K,        WeightFormat::kQ6_K,    WeightFormat::kInt4Group32,
                                          WeightFormat::kInt4Group128};
constexpr MatmulCase kBlockShapes[] = {
    {kForwardPacked, 512, 4096, 2048}, {kForwardPacked, 3072, 1024, 512, 64}, {kForwardPacked, 16, 8192, 8192},
    {kForwardPacked, 4, 8192, 8192},   {kForwardPacked, 1, 8192, 8192},
};

constexpr WeightFormat kInt8Formats[] = {WeightFormat::kInt8Row, WeightFormat::kQ8_0,       WeightFormat::kQ4_0,
                                         WeightFormat::kQ4_1,    WeightFormat::kQ5_0,       WeightFormat::kQ4_K,
                                         WeightFormat::kQ6_K,    WeightFormat::kInt4Group32};

const char* role_name(MatmulRole role) {
  switch (role) {
    case kForward:
      return "forward";
    case kForwardPacked:
      return "forward_packed";
    case kBackwardInput:
      return "backward_input";
    case kBackwardWeight:
      return "backward_weight";
  }
  return "?";
}

// Everything that one case needs, alive as long as its run.
struct Operands {
  Tensor x, w, dy, y, dx, dw;
  Int8Rows x_int8;
  std::vector<PackedMatrix> packed;
  std::vector<int32_t> offsets, rows;
};

// Codes of any value. Their groups' sums are not kept up: a benchmark's time does not depend on them.
Int8Rows random_int8_rows(int64_t m, int64_t k) {
  Int8Rows x;
  x.rows = m, x.k = k;
  x.groups32 = Tensor::zeros({m, int8_row_bytes(k)}, DType::kI8);
  Rng rng(5, RngStream::kTest);
  int8_t* codes = reinterpret_cast<int8_t*>(x.groups32.raw());
  const float scale = 0.01f;
  for (int64_t i = 0; i < m; ++i, codes += x.groups32.row_stride())
    for (int64_t j = 0; j < k; ++j) {
      codes[int8_code_at(j)] = static_cast<int8_t>(static_cast<int>(rng.next_below(255)) - 127);
      if (j % 32 == 0) std::memcpy(codes + int8_scale_at(j), &scale, sizeof scale);
    }
  x.groups64 = x.groups32;
  return x;
}

std::function<void()> prepare(const MatmulCase& c) {
  auto o = std::make_shared<Operands>();
  const int64_t experts = std::max<int64_t>(1, c.experts);
  o->x = case_tensor({c.m, c.k}, c.activations);
  o->dy = case_tensor({c.m, c.n}, c.activations, 2);
  o->w = case_tensor({experts, c.n, c.k}, DType::kF32, 3);
  for (int64_t e = 0; e <= experts; ++e) o->offsets.push_back(static_cast<int32_t>(c.m * e / experts));
  for (int64_t i = 0; i < c.m; ++i) o->rows.push_back(static_cast<int32_t>(i * 7919 % c.m));
  if (c.role == kForward || c.role == kForwardPacked) o->y = Tensor::empty({c.m, c.n}, c.activations);
  if (c.role == kBackwardInput) o->dx = Tensor::empty({c.m, c.k}, c.activations);
  if (c.role == kBackwardWeight) o->dw = Tensor::zeros({experts, c.n, c.k}, DType::kF32);
  if (c.role == kForwardPacked) {
    for (int64_t e = 0; e < experts; ++e) {
      WeightPart part;
      if (c.format == WeightFormat::kPlain)
        part.values = o->w.index(e);
      else
        part = random_part(c.format, c.n, c.k, static_cast<uint64_t>(e));
      o->packed.push_back(PackedMatrix::pack({&part, 1}, c.compute, c.rows));
    }
    o->w = Tensor();
  }
  if (c.rows == Activations::kInt8) {
    o->x_int8 = random_int8_rows(c.m, c.k);
    return [o, c] {
      if (c.experts > 0)
        grouped_matmul_forward(o->x_int8, {o->offsets, o->rows.data()}, o->packed.data(), o->y);
      else
        matmul_forward(o->x_int8, o->packed[0], nullptr, o->y);
    };
  }
  return [o, c] {
    const PackedMatrix* packed = o->packed.empty() ? nullptr : o->packed.data();
    if (c.experts > 0) {
      const GroupedRows groups = {o->offsets, o->rows.data()};
      if (c.role == kBackwardInput)
        grouped_matmul_backward_input(o->dy, groups, {o->w}, c.compute, o->dx);
      else if (c.role == kBackwardWeight)
        grouped_matmul_backward_weight(o->dy, o->x, groups, c.compute, true, o->dw);
      else
        grouped_matmul_forward(o->x, groups, {o->w, packed}, c.compute, o->y);
    } else {
      const MatmulWeight w = {packed ? Tensor() : o->w.index(0), packed};
      Tensor dw = c.role == kBackwardWeight ? o->dw.index(0) : Tensor();
      if (c.role == kBackwardInput)
        matmul_backward_input(o->dy, w, c.compute, false, o->dx);
      else if (c.role == kBackwardWeight)
        matmul_backward_weight(o->dy, o->x, c.compute, true, dw);
      else
        matmul_forward(o->x, w, nullptr, c.compute, o->y);
    }
  };
}

}  // namespace

std::span<const MatmulCase> matmul_test_cases() { return kTestCases; }
std::span<const MatmulCase> matmul_bench_cases() { return kBenchCases; }

std::vector<OpCase> matmul_cases() {
  std::vector<OpCase> all;
  std::vector<MatmulCase> cases(std::begin(kBenchCases), std::end(kBenchCases));
  for (const WeightFormat format : kBlockFormats)
    for (MatmulCase c : kBlockShapes) {
      c.format = format;
      cases.push_back(c);
    }
  for (const WeightFormat format : kInt8Formats)
    for (MatmulCase c : kBlockShapes) {
      c.format = format, c.rows = Activations::kInt8;
      cases.push_back(c);
    }
  for (const MatmulCase& c : cases) {
    OpCase o;
    o.name = std::string(c.experts ? "grouped_matmul " : "matmul ") + role_name(c.role) + " " + std::to_string(c.m) + "x" +
             std::to_string(c.n) + "x" + std::to_string(c.k) + (c.experts ? " E" + std::to_string(c.experts) : "") +
             (c.compute == Compute::kF32 ? " f32" : " bf16") +
             (c.format == WeightFormat::kPlain ? "" : " " + std::string(weight_format_name(c.format))) +
             (c.rows == Activations::kInt8 ? " a8" : "");
    o.int8 = c.rows == Activations::kInt8;
    const double m = static_cast<double>(c.m), n = static_cast<double>(c.n), k = static_cast<double>(c.k);
    o.flops = 2 * m * n * k;
    o.bf16 = c.compute == Compute::kBF16;
    const double weight_bytes = o.int8
                                    ? static_cast<double>(int8_panel_bytes(c.format, c.k)) / (static_cast<double>(kPanel) * k)
                                : c.format != WeightFormat::kPlain
                                    ? static_cast<double>(block_panel_bytes(c.format, c.k)) / (static_cast<double>(kPanel) * k)
                                : c.role == kForwardPacked && o.bf16 ? 2
                                : c.role == kBackwardWeight          ? 8
                                                                     : 4;
    o.bytes = static_cast<double>(std::max<int64_t>(1, c.experts)) * n * k * weight_bytes +
              m * (n + k) * static_cast<double>(dtype_bytes(c.activations));
    o.prepare = [c] { return prepare(c); };
    all.push_back(std::move(o));
  }
  return all;
}

}  // namespace fathom
