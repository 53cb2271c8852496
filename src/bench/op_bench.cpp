#include "bench/op_bench.h"

#include <algorithm>
#include <chrono>

#include "backend/cpu/peak.h"
#include "base/thread_pool.h"
#include "ops/adamw/adamw_case.h"
#include "ops/attention/attention_case.h"
#include "ops/cross_entropy/cross_entropy_case.h"
#include "ops/embedding/embedding_case.h"
#include "ops/matmul/matmul_case.h"
#include "ops/moe_dispatch/moe_dispatch_case.h"
#include "ops/moe_gate/moe_gate_case.h"
#include "ops/quantize_rows/quantize_rows_case.h"
#include "ops/rms_norm/rms_norm_case.h"
#include "ops/rope/rope_case.h"
#include "ops/sampling/sampling_case.h"
#include "ops/swiglu/swiglu_case.h"

namespace fathom {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What every op costs before it computes: waking the threads and meeting them again; a tensor from the cache.
std::vector<OpCase> overhead_cases() {
  return {{"overhead parallel_region, nothing inside", 0, 0, [] { return [] { parallel_region([](int, int) {}); }; }},
          {"overhead Tensor::empty 1x1024", 0, 0, [] { return [] {
                                                         Tensor::empty({1, 1024}, DType::kF32);
                                                       }; }}};
}

}  // namespace

std::vector<OpCase> all_op_cases() {
  std::vector<OpCase> all = overhead_cases();
  for (auto list : {matmul_cases, attention_cases, rope_cases, rms_norm_cases, swiglu_cases, quantize_rows_cases,
                    embedding_cases, moe_gate_cases, moe_dispatch_cases, cross_entropy_cases, sampling_cases, adamw_cases})
    for (OpCase& c : list()) all.push_back(std::move(c));
  return all;
}

OpResult run_op_case(const OpCase& c, double budget_s) {
  const std::function<void()> run = c.prepare();
  run();
  double best = 1e300;
  int runs = 0;
  for (const double until = now() + budget_s; runs < 3 || (now() < until && runs < 1000); ++runs) {
    const double start = now();
    run();
    best = std::min(best, now() - start);
  }
  OpResult r;
  r.name = c.name;
  r.seconds = best;
  r.tera_flops = c.flops / best / 1e12;
  r.gigabytes = c.bytes / best / 1e9;
  const double arithmetic = c.flops / 1e12 / (c.int8 ? int8_peak() : gemm_peak(c.bf16)), memory = c.bytes / memory_bandwidth();
  r.memory_bound = memory > arithmetic;
  r.share = std::max(arithmetic, memory) / best;
  return r;
}

}  // namespace fathom
