// What the GEMM's tests share: every form of arithmetic on every rung that this machine has.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "backend/cpu/isa.h"
#include "base/thread_pool.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/gemm_ref.h"
#include "kernels/matmul/packed.h"

namespace fathom {

struct GemmEngine {
  Isa isa;
  Compute compute;
  Bf16Engine engine;
  GemmOrder order;
  bool emulated;  // slow: small cases only
};

// Leaves isa() at the last rung.
inline std::vector<GemmEngine> gemm_engines() {
  std::vector<GemmEngine> all;
  for (Isa isa : supported_isas()) {
    const bool portable = isa == Isa::kPortable;
    all.push_back({isa, Compute::kF32, Bf16Engine::kOfRung, GemmOrder::kF32, portable});
    all.push_back({isa, Compute::kBF16, Bf16Engine::kWiden, GemmOrder::kWiden, portable});
    if (isa != Isa::kAvx2) {  // which would take portable's
      all.push_back({isa, Compute::kBF16, Bf16Engine::kDot, GemmOrder::kDot, isa < Isa::kAvx512Bf16});
      all.push_back({isa, Compute::kBF16, Bf16Engine::kTiles, GemmOrder::kTiles, isa < Isa::kAmx});
    }
    set_isa_for_test(isa);
    all.push_back({isa, Compute::kBF16, Bf16Engine::kOfRung, gemm_order(Compute::kBF16), portable});
  }
  return all;
}

// Codes at their ends: all of int8 and int4; of GGUF's types every second block of the largest alone, which are all bytes
// behind its scales, or before them; Q6_K's with the largest scale.
inline void set_extreme_codes(WeightPart& w) {
  std::byte* const raw = w.values.raw();
  const WeightFormat format = w.format();
  if (w.values.dtype() == DType::kI8)
    for (int64_t i = 0; i < w.values.bytes(); ++i) reinterpret_cast<int8_t*>(raw)[i] = i % 9 ? -128 : 127;
  if (is_int4(format))
    for (int64_t i = 0; i < w.values.bytes(); ++i) reinterpret_cast<uint8_t*>(raw)[i] = i % 9 ? 0xff : 0x00;
  if (w.values.dtype() != DType::kU8) return;
  const GgmlTypeInfo& info = ggml_type_info(w.type);
  const int64_t from = format == WeightFormat::kQ6_K ? 0 : format == WeightFormat::kQ4_K ? 16 : info.bytes - info.block / 2;
  for (int64_t i = 0; i < w.values.bytes(); i += 2 * info.bytes) {
    std::memset(raw + i + from, 0xff, static_cast<size_t>(info.block / 2));
    if (format == WeightFormat::kQ5_0) std::memset(raw + i + 2, 0xff, 4);
    if (format == WeightFormat::kQ6_K) std::memset(raw + i + 128, 0xff, 64);
    if (format == WeightFormat::kQ6_K) std::memset(raw + i + 192, 0x80, 16);
  }
}

// B is `packed`, which holds one matrix.
inline void use(GemmProblem& g, const PackedMatrix& packed) {
  ASSERT_EQ(packed.pieces().size(), 1u);
  g.packed = packed.pieces()[0].data, g.packed_format = packed.pieces()[0].format;
}

class GemmTest : public ::testing::Test {
 protected:
  void SetUp() override { flush_denormals(); }
  void TearDown() override {
    set_bf16_engine_for_test(Bf16Engine::kOfRung);
    set_isa_for_test(best_isa());
    set_num_threads(2);
  }
};

}  // namespace fathom
