// Plans a list of products into blocks of C and hands them to the threads: first B is packed by all of them where more
// than one block needs it, then blocks are taken from a counter. Who takes a block changes no bit.
#include "kernels/matmul/gemm.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/int8_rows.h"
#include "kernels/matmul/kernel_table.h"
#include "kernels/matmul/plan.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

std::atomic<Bf16Engine> bf16_engine{Bf16Engine::kOfRung};

const GemmKernels& choose(Compute compute) {
  using Get = const GemmKernels* (*)();
  constexpr IsaTable<Get> f32 = {portable::gemm_f32_kernels, avx2::gemm_f32_kernels, avx512::gemm_f32_kernels};
  constexpr IsaTable<Get> widen = {portable::gemm_widen_kernels, avx2::gemm_widen_kernels, avx512::gemm_widen_kernels};
  constexpr IsaTable<Get> dot = {portable::gemm_dot_kernels, portable::gemm_dot_kernels, portable::gemm_dot_kernels,
                                 avx512bf16::gemm_dot_kernels};
  constexpr IsaTable<Get> tiles = {portable::gemm_tile_kernels, portable::gemm_tile_kernels, avx512::gemm_tile_kernels,
                                   avx512::gemm_tile_kernels, amx::gemm_tile_kernels};
  constexpr IsaTable<Get> of_rung = {portable::gemm_widen_kernels, avx2::gemm_widen_kernels, avx512::gemm_widen_kernels,
                                     avx512bf16::gemm_dot_kernels, amx::gemm_tile_kernels};
  if (compute == Compute::kF32) return *f32.pick()();
  switch (bf16_engine.load(std::memory_order_relaxed)) {
    case Bf16Engine::kWiden:
      return *widen.pick()();
    case Bf16Engine::kDot:
      return *dot.pick()();
    case Bf16Engine::kTiles:
      return *tiles.pick()();
    case Bf16Engine::kOfRung:
      break;
  }
  if (isa() == Isa::kAvx512Vnni) return *avx512::gemm_widen_vnni_kernels();
  return *of_rung.pick()();
}

const GemmKernels& choose_int8() {
  using Get = const GemmKernels* (*)();
  constexpr IsaTable<Get> vectors = {portable::gemm_int8_kernels, avx2::gemm_int8_kernels, avx512::gemm_int8_kernels,
                                     avx512bf16::gemm_int8_kernels};
  constexpr IsaTable<Get> tiles = {portable::gemm_int8_tile_kernels, portable::gemm_int8_tile_kernels,
                                   avx512::gemm_int8_tile_kernels, avx512::gemm_int8_tile_kernels, amx::gemm_int8_tile_kernels};
  if (isa() == Isa::kAmx || bf16_engine.load(std::memory_order_relaxed) == Bf16Engine::kTiles) return *tiles.pick()();
  if (isa() == Isa::kAvx512Vnni) return *avx512::gemm_int8_vnni_kernels();
  return *vectors.pick()();
}

// Scratch of one thread: grown, never given back, so that no step after the first allocates.
struct Scratch {
  std::shared_ptr<std::byte> memory;
  int64_t bytes = 0;
  char* get(int64_t wanted) {
    if (wanted > bytes) {
      memory.reset();
      memory = allocate_storage(wanted);
      bytes = wanted;
    }
    return reinterpret_cast<char*>(memory.get());
  }
};
thread_local Scratch thread_scratch, shared_scratch;

// All threads of a region meet. Spins shortly, then yields: there may be more threads than processors.
void meet(std::atomic<int>& arrived, int threads) {
  if (threads == 1) return;
  arrived.fetch_add(1, std::memory_order_acq_rel);
  for (int spin = 0; arrived.load(std::memory_order_acquire) < threads; ++spin) {
    if (spin < 2000)
      __builtin_ia32_pause();
    else
      std::this_thread::yield();
  }
}

int64_t align(int64_t bytes) { return (bytes + 127) / 128 * 128; }

void run_pass(const GemmPlan& plan, std::span<const GemmProblem> problems, const GemmKernels& kernels,
              const GemmOptions& options, char* shared, PackPanel pack_panel) {
  std::atomic<int64_t> next_pack{0}, next_block{0};
  std::atomic<int> arrived{0};
  parallel_region([&](int, int threads) {
    if (plan.share_b) {
      for (;;) {
        const int64_t i = next_pack.fetch_add(1, std::memory_order_relaxed);
        if (i >= static_cast<int64_t>(plan.packs.size())) break;
        const PlanPack& p = plan.packs[i];
        const GemmProblem& g = problems[p.problem];
        for (int64_t panel = p.panel; panel < p.panel_end; ++panel)
          pack_panel(g.b, panel, g.n, p.k0, p.kc, kernels.panel_format,
                     shared + p.offset + (panel - p.panel) * p.panel_bytes + packed_panel_bytes(p.k0, kernels.panel_format));
      }
      meet(arrived, threads);
    }
    for (;;) {
      const int64_t i = next_block.fetch_add(1, std::memory_order_relaxed);
      if (i >= static_cast<int64_t>(plan.blocks.size())) return;
      const PlanBlock& block = plan.blocks[i];
      const GemmProblem& g = problems[block.problem];
      GemmTile t;
      t.a = g.a;
      t.b = g.b;
      t.m0 = block.m0;
      t.rows = block.rows;
      t.panel0 = block.panel0;
      t.panels = block.panels;
      t.n = g.n;
      t.k = g.k;
      const bool blocks = g.packed && g.packed_format != WeightFormat::kPlain;
      t.weight_format = blocks ? g.packed_format : WeightFormat::kPlain;
      t.format = kernels.panel_format;
      t.panel_bytes = g.a_int8 ? int8_panel_bytes(g.packed_format, g.k)
                      : blocks ? block_panel_bytes(g.packed_format, g.k)
                               : packed_panel_bytes(g.k, t.format);
      t.packed = g.packed ? static_cast<const char*>(g.packed) : plan.share_b ? shared + block.b_offset : nullptr;
      t.c = g.c;
      t.ldc = g.ldc;
      t.bias = g.bias;
      t.c_bf16 = options.c_bf16;
      t.accumulate = options.accumulate;
      t.bias_bf16 = g.bias_bf16;
      t.super_k = block.super_k;
      const int64_t a_bytes = align(kernels.a_bytes(t.rows, t.super_k, t.a.k_contiguous));
      const int64_t b_bytes = blocks     ? align(kBlockScratchBytes + t.rows * t.super_k / 16 * 4)
                              : t.packed ? 0
                                         : align(4 * t.super_k * kPanelRow);
      char* scratch = thread_scratch.get(a_bytes + b_bytes + kernels.partial_bytes(t.rows, t.panels, t.k, t.super_k) + 4096);
      t.a_scratch = scratch;
      t.b_scratch = scratch + a_bytes;
      t.partial = reinterpret_cast<float*>(scratch + a_bytes + b_bytes);
      (blocks ? kernels.tile_blocks : kernels.tile)(t);
    }
  });
}

// k == 0: the sum over nothing. The bias alone, zeros, or nothing to add.
void finish_empty(const GemmProblem& g, const GemmOptions& options) {
  if (options.accumulate) {
    CHECK(!g.bias);
    return;
  }
  for (int64_t m = 0; m < g.m; ++m)
    for (int64_t n = 0; n < g.n; ++n) {
      const float x = !g.bias       ? 0.f
                      : g.bias_bf16 ? to_float(static_cast<const bf16*>(g.bias)[n])
                                    : static_cast<const float*>(g.bias)[n];
      if (options.c_bf16)
        static_cast<bf16*>(g.c)[m * g.ldc + n] = to_bf16(x);
      else
        static_cast<float*>(g.c)[m * g.ldc + n] = x;
    }
}

}  // namespace

void set_bf16_engine_for_test(Bf16Engine engine) { bf16_engine.store(engine); }

PanelFormat panel_format(Compute compute) { return choose(compute).panel_format; }

void gemm(std::span<const GemmProblem> problems, const GemmOptions& options) {
  const bool int8 = !problems.empty() && problems[0].a_int8;
  const GemmKernels& kernels = int8 ? choose_int8() : choose(options.compute);
  thread_local GemmPlan plan;
  for (const GemmProblem& g : problems) {
    if (g.k == 0) finish_empty(g, options);
    CHECK(g.packed_format == WeightFormat::kPlain || (g.packed && g.a.k_contiguous));
    CHECK(g.a_int8 == int8);
    if (int8) CHECK(takes_int8(g.packed_format));
  }
  for (GemmPlanner planner(problems, kernels, num_threads()); planner.next(plan);)
    run_pass(plan, problems, kernels, options, plan.share_b ? shared_scratch.get(plan.shared_bytes) : nullptr,
             kPackPanels.pick());
}

}  // namespace fathom
