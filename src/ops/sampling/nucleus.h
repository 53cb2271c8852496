// Top p (the nucleus) in one pass over the logits, where a sample of them tells about where its border lies.
#pragma once
#include <optional>

#include "ops/sampling/sampling_row.h"

namespace fathom {

// The token that draw_ranked (sampling.cpp) draws with top_p alone, to the bit; none where the sample misled, which is rare, or
// the row is short: then it has to be found there. uniform in [0, 1).
std::optional<Drawn> draw_nucleus(const SamplingRow& row, float top_p, float uniform);

}  // namespace fathom
