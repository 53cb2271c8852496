#pragma once
#include "backend/cpu/isa.h"

namespace fathom {
// Tokens whose weights are summed at once; what lies in one is walked.
constexpr int64_t kSamplingBlock = 512;
constexpr int kSamplingPivots = 8, kSamplingFewPivots = 3;
constexpr int64_t kSamplingRoom = 16;  // elements that sampling_select may write beyond what it returns
}  // namespace fathom

// A token's weight is floor(v), v = 2^40 exp((x - maximum) inverse_temperature), a float: 0 <= v <= 2^40. Sums of weights are
// exact, so that nothing depends on the order in which they are taken.

// v [n] of x [n], unless null, and sums [ceil(n / kSamplingBlock)]: the weight of those of each block with v >= least.
FATHOM_DECLARE_RUNGS3(void sampling_weigh(const float* x, int64_t n, float maximum, float inverse_temperature, float least,
                                          float* v, int64_t* sums))
// v of x [n] in one pass for top p: *whole: the weight of all; sums: of those of each block with v >= high; those with low <= v
// < high, in order, with their indices, to to_v and to_indices (room for n + kSamplingRoom); returns their number.
FATHOM_DECLARE_RUNGS3(int64_t sampling_split(const float* x, int64_t n, float maximum, float inverse_temperature, float low,
                                             float high, int64_t* whole, int64_t* sums, float* to_v, int32_t* to_indices))
// The same sums of v [n].
FATHOM_DECLARE_RUNGS3(void sampling_sums(const float* v, int64_t n, float least, int64_t* sums))
// sums[j]: the weight, or with `count` the number, of those of v [n] that are at least pivots[j], a whole number from 1. j is
// below kSamplingPivots, or with `few` below kSamplingFewPivots.
FATHOM_DECLARE_RUNGS3(void sampling_pivots(const float* v, int64_t n, bool count, bool few, const float* pivots, int64_t* sums))
// Those of v [n] with low <= v < high, in order, and their indices (null: first, first + 1, …); returns their number. Room for
// n + kSamplingRoom in both, which may be v and indices themselves.
FATHOM_DECLARE_RUNGS3(int64_t sampling_select(const float* v, const int32_t* indices, int32_t first, int64_t n, float low,
                                              float high, float* to_v, int32_t* to_indices))
// The index of the first of x [n] that is at least `least`; n where none is.
FATHOM_DECLARE_RUNGS3(int64_t sampling_first(const float* x, int64_t n, float least))
FATHOM_DECLARE_RUNGS3(double sampling_log(double x))
