// The benchmark's shapes of this op.
#pragma once
#include <vector>

#include "kernels/op_case.h"
#include "ops/sampling/sampling.h"

namespace fathom {

struct NamedSampling {
  const char* name;
  SamplingParams params;
};
// greedy, plain, top-p, top-k, min-p: the settings that benchmarks draw with.
const std::vector<NamedSampling>& bench_samplings();
std::vector<OpCase> sampling_cases();

}  // namespace fathom
