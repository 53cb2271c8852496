#pragma once
#include "backend/cpu/isa.h"

// s = sigmoid(logits), or softmax(logits) where `softmax`; n experts.
FATHOM_DECLARE_RUNGS3(void gate_scores(const float* logits, int64_t n, bool softmax, float* s))
// Sums in one fixed order over 16 lanes.
FATHOM_DECLARE_RUNGS3(float gate_sum(const float* x, int64_t n))
FATHOM_DECLARE_RUNGS3(float gate_dot(const float* x, const float* y, int64_t n))
// d[i] += scale s_i' (a[i] - dot) (1 - s[i] where sigmoid), s' = s / total: the gradient of sum_i a_i s'_i times `scale`.
FATHOM_DECLARE_RUNGS3(void add_share_gradient(const float* s, const float* a, int64_t n, bool softmax, float total, float dot,
                                              float scale, float* d))
// d[i] = s[i] (ds[i] - dot): through softmax.
FATHOM_DECLARE_RUNGS3(void softmax_gradient(const float* s, const float* ds, int64_t n, float dot, float* d))
