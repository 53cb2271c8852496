#include "bench/op_bench.h"

#include <algorithm>
#include <chrono>

#include "backend/cpu/peak.h"
#include "ops/matmul/matmul_case.h"

namespace fathom {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

std::vector<OpCase> all_op_cases() {
  std::vector<OpCase> all;
  for (auto list : {matmul_cases})
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
  r.memory_bound = c.memory_bound || c.flops == 0;
  r.share = r.memory_bound ? c.bytes / best / memory_bandwidth() : r.tera_flops / gemm_peak(c.bf16);
  return r;
}

}  // namespace fathom
