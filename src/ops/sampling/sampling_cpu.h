#pragma once
#include "backend/cpu/isa.h"

// Weight of each token as a whole number: floor(2^40 exp((x - maximum) inverse_temperature)); returns their sum. Sums of such
// weights are exact, so that nothing depends on the order in which they are taken.
FATHOM_DECLARE_RUNGS3(int64_t sampling_weights(const float* x, int64_t n, float maximum, float inverse_temperature,
                                               int64_t* weights))
FATHOM_DECLARE_RUNGS3(int64_t sum_weights(const int64_t* weights, int64_t n))
FATHOM_DECLARE_RUNGS3(double sampling_log(double x))
