// The oracle: the distribution that sample_token draws from, in double, by a full sort.
#pragma once
#include <cstdint>
#include <vector>

#include "ops/sampling/sampling.h"

namespace fathom::reference {
// Probability of each token of the row (0 where it is cut).
std::vector<double> sampling_distribution(const std::vector<double>& logits, int64_t num_valid, const SamplingParams& params,
                                          const SamplingHistory& history = {});
}  // namespace fathom::reference
