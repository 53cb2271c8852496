// Locally typical sampling (arXiv:2202.00666, eq. 10): of the tokens that are left, the shortest run of those whose information
// -log p lies nearest to the distribution's entropy and whose sum reaches typical_p.
#pragma once
#include <cstdint>

namespace fathom {

// weights [n], whole numbers of sampling.h, 0 where a token is cut already: sets to 0 what is not kept. scaled [n]: the tokens'
// (logit - largest) / temperature. -log p - entropy = (expectation of scaled) - scaled, so no logarithm is needed. On ties the
// lower id is nearer.
void keep_typical(int64_t* weights, const float* scaled, int64_t n, float typical_p);

}  // namespace fathom
