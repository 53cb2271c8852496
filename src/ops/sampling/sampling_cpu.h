#pragma once
#include "backend/cpu/isa.h"

// Weight of each token as a whole number: floor(2^40 exp((x - maximum) inverse_temperature)). Sums of such weights are exact,
// so that nothing depends on the order in which they are taken.
FATHOM_DECLARE_RUNGS3(void sampling_weights(const float* x, int64_t n, float maximum, float inverse_temperature,
                                            int64_t* weights))
FATHOM_DECLARE_RUNGS3(double sampling_log(double x))
