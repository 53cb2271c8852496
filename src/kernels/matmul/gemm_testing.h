// What the GEMM's tests share: every form of arithmetic on every rung that this machine has.
#pragma once
#include <gtest/gtest.h>

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
