#pragma once
#include "backend/cpu/isa.h"
#include "tensor/format/bf16.h"

// d[v] = c (1[v = target] - exp(x[v] - lse)) for v < valid, 0 for valid <= v < n. target < 0: all 0. d may be x.
FATHOM_DECLARE_RUNGS3(void log_prob_gradient_row(const float* x, int64_t n, int64_t valid, int64_t target, float c, float lse,
                                                 float* d))
FATHOM_DECLARE_RUNGS3(void log_prob_gradient_row_bf16(const float* x, int64_t n, int64_t valid, int64_t target, float c,
                                                      float lse, bf16* d))
